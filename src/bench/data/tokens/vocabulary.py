"""Which words have a vector of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings

HasVector = Callable[[Sequence[str]], np.ndarray]  # (words,) bool: whether a vector file has them

PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = 2


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a vector of their own and how corpus ids map to vector rows; most frequent first, then those
    that have one although they are rare or stand in other splits.

    words[k] has row k + SPECIAL_WORDS; row 0 is padding, row 1 every other word.
    counts: (len(words),) int64, in the training part;  table: (distinct words of the corpus,) int32.
    """

    words: list[str]
    counts: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.words) + SPECIAL_WORDS

    @classmethod
    def of(
        cls, words: Strings, training: Ragged, size: int, minimum_count: int, has_vector: HasVector | None = None
    ) -> Vocabulary:
        """The `size` most frequent words of the training part, ties in order of first appearance.

        words: all of the corpus;  training: ids into `words`;  size: vector rows, special ones included;
        has_vector: further words that are taken in, beyond that size.
        """
        counts = training.counts(len(words))
        order = np.argsort(-counts, kind="stable")[: size - SPECIAL_WORDS]
        kept = order[counts[order] >= max(minimum_count, 1)]
        chosen = words.take(kept)
        if "" in chosen:  # what a text of nothing but markup is made of
            kept = np.delete(kept, chosen.index(""))
            chosen.remove("")
        if has_vector is not None:
            others = np.setdiff1d(np.arange(len(words)), kept)
            others = others[has_vector(words.take(others))]
            kept, chosen = np.concatenate([kept, others]), [*chosen, *words.take(others)]
        table = np.full(len(words), UNKNOWN, np.int32)
        table[kept] = np.arange(len(kept), dtype=np.int32) + SPECIAL_WORDS
        return cls(chosen, counts[kept], table)

    @classmethod
    def whole(cls, words: Strings, training: Ragged) -> Vocabulary:
        """Every word of the corpus, in order of first appearance. words: all of them;  training: ids into `words`."""
        rows = np.arange(len(words), dtype=np.int32) + SPECIAL_WORDS
        return cls(words.take(np.arange(len(words))), training.counts(len(words)), rows)

    def unknown_fraction(self, texts: Ragged) -> float:
        """Share of the tokens that have no vector of their own. texts: ids of the corpus."""
        counts = texts.counts(len(self.table))
        return float(counts[self.table == UNKNOWN].sum() / counts.sum())
