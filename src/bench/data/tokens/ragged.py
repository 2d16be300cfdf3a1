"""Many sequences in one flat array, which may be a file: choosing among them copies no token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_PIECE_TOKENS = 1_000_000


@dataclass(frozen=True)
class Ragged:
    """ids: (tokens,) int32;  starts, lengths: (texts,) int64, where in `ids` each text begins, and its tokens."""

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, offsets: np.ndarray) -> Ragged:
        """Texts one behind the other. offsets: (texts + 1,) int64, where each begins, and where the last one ends."""
        return cls(ids, offsets[:-1], np.diff(offsets))

    def __len__(self) -> int:
        return len(self.starts)

    def subset(self, rows: np.ndarray) -> Ragged:
        """Some of the texts, in the given order."""
        return Ragged(self.ids, self.starts[rows], self.lengths[rows])

    def pieces(self) -> Iterator[np.ndarray]:
        """All tokens, text after text, some at a time."""
        ends = np.cumsum(self.lengths)
        first = 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _PIECE_TOKENS, side="right")))
            yield self._tokens(slice(first, last))
            first = last

    def counts(self, words: int) -> np.ndarray:
        """(words,) int64: how often each id occurs."""
        total = np.zeros(words, np.int64)
        for piece in self.pieces():
            total += np.bincount(piece, minlength=words)
        return total

    def _tokens(self, rows: slice) -> np.ndarray:
        starts, lengths = self.starts[rows], self.lengths[rows]
        ends = starts + lengths
        if np.array_equal(starts[1:], ends[:-1]):
            return self.ids[starts[0] : ends[-1]]
        behind = np.concatenate([[0], np.cumsum(lengths)])
        chosen: np.ndarray = self.ids[np.arange(behind[-1]) + np.repeat(starts - behind[:-1], lengths)]
        return chosen
