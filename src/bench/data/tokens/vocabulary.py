"""Which words have a vector of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings

PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = 2


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a vector of their own, most frequent first, and how corpus ids map to vector rows.

    words[k] has row k + SPECIAL_WORDS; row 0 is padding, row 1 every other word.
    counts: (len(words),) int64, in the training part;  table: (distinct words of the corpus,) int32.
    """

    words: list[str]
    counts: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.words) + SPECIAL_WORDS

    @classmethod
    def of(cls, words: Strings, training: Ragged, size: int, minimum_count: int) -> Vocabulary:
        """The `size` most frequent words of the training part, ties in order of first appearance.

        words: all of the corpus;  training: ids into `words`;  size: vector rows, special ones included.
        """
        counts = training.counts(len(words))
        order = np.argsort(-counts, kind="stable")[: size - SPECIAL_WORDS]
        kept = order[counts[order] >= max(minimum_count, 1)]
        chosen = words.take(kept)
        if "" in chosen:  # what a text of nothing but markup is made of
            kept = np.delete(kept, chosen.index(""))
            chosen.remove("")
        table = np.full(len(words), UNKNOWN, np.int32)
        table[kept] = np.arange(len(kept), dtype=np.int32) + SPECIAL_WORDS
        return cls(chosen, counts[kept], table)

    def unknown_fraction(self, texts: Ragged) -> float:
        """Share of the tokens that have no vector of their own. texts: ids of the corpus."""
        counts = texts.counts(len(self.table))
        return float(counts[self.table == UNKNOWN].sum() / counts.sum())
