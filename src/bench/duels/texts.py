"""Batches in which nothing is padded: real texts of at least so many tokens, cut to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.data.batches import Batch, BatchDataset, Texts, share_of
from bench.duels.plan import Setting
from bench.errors import UserError
from bench.seeds import generator


class EqualTexts:
    """Batches of one setting from the training part, in an order that the seed draws; they repeat when all were used.

    Raises: `UserError` if the training part holds too few texts of that length.
    """

    def __init__(self, texts: Texts, setting: Setting, seed: int, corpus: str) -> None:
        rows = np.flatnonzero(texts.words.lengths >= setting.length)
        if len(rows) < setting.batch_size:
            raise UserError(_too_few(texts, setting, corpus, len(rows)))
        self._batch_size = setting.batch_size
        self._rows = generator(seed, "order").permutation(rows)
        cut = replace(texts, max_length=setting.length)
        self._dataset, self._judged = BatchDataset(cut), cut.judged

    def batch(self, number: int) -> Batch:
        """The batch of a round, (batch_size, length) tokens. number: of the round, counted over the whole duel."""
        batches = len(self._rows) // self._batch_size
        start = number % batches * self._batch_size
        return self._dataset[share_of(self._rows[start : start + self._batch_size], 0, 1, self._judged)]


def _too_few(texts: Texts, setting: Setting, corpus: str, found: int) -> str:
    """What is wrong, and the longest texts that there are enough of."""
    lengths = np.sort(texts.words.lengths)[::-1]
    if len(lengths) < setting.batch_size:
        return (
            f"duel.batch_sizes: data={corpus} has {len(lengths)} training texts, fewer than a batch of "
            f"{setting.batch_size}; try duel.batch_sizes=[{max(1, len(lengths) // 2)}]"
        )
    longest = int(lengths[setting.batch_size - 1])
    ladder = sorted({max(1, longest // 4), max(1, longest // 2), longest})
    return (
        f"duel.lengths: data={corpus} has {found} training texts of {setting.length} tokens or more, fewer than a "
        f"batch of {setting.batch_size}; {longest} tokens is the longest possible, as in "
        f"duel.lengths=[{','.join(map(str, ladder))}]"
    )
