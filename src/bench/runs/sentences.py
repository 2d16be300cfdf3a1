"""The training part as vectors are trained on it: what a run sees of each text, truncated, unknown words left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.data.batches import Texts
from bench.embeddings.table import SPECIAL_ROWS

_TEXTS_AT_ONCE = 512


class Sentences:
    """Each text's tokens as positions in the vocabulary's words: (tokens,) int64; again with each iteration."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._texts), _TEXTS_AT_ONCE):
            tokens, _ = self._texts.padded(np.arange(start, min(start + _TEXTS_AT_ONCE, len(self._texts))))
            known = tokens >= SPECIAL_ROWS  # neither padding nor unknown
            yield from np.split(tokens[known] - SPECIAL_ROWS, np.cumsum(known.sum(axis=1))[:-1])
