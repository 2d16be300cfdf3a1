"""A split: labels in memory, texts and ids where they are, in memory or in a file that is read anew at each look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

import numpy as np
import numpy.typing as npt

CHUNK_TEXTS = 4_096
IGNORED = -100  # a label that is not judged; the one that PyTorch's cross-entropy leaves out


class Streamed(Sequence[str]):
    """Strings that are read a chunk at a time, anew whenever they are looked at; none are kept.

    A single one is found by reading up to it: whoever needs many should go through them in order.
    """

    def __init__(self, size: int, chunks: Callable[[], Iterator[Sequence[str]]]) -> None:
        """size: how many there are;  chunks: reads them all from the start."""
        self._size = size
        self.chunks = chunks

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        for chunk in self.chunks():
            yield from chunk

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            rows = range(*key.indices(self._size))
            if not rows:
                return []
            first, last = min(rows), max(rows)
            found = list(islice(self, first, last + 1))
            return [found[row - first] for row in rows]
        row = range(self._size)[key]
        return next(islice(self, row, None))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._size:,} strings, read when they are looked at>"


@dataclass(frozen=True)
class Tags:
    """A class for each word of each text. values: (words,) int64, positions in `Corpus.label_names` or `IGNORED`;
    offsets: (texts + 1,) int64, where each text's words begin."""

    values: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    def subset(self, rows: np.ndarray) -> Tags:
        """Those of some texts, in the given order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Tags(self.values[positions], offsets)


@dataclass(frozen=True)
class Split:
    """The texts of one split, each with its class index and its id.

    labels: (texts,) int64, positions in `Corpus.label_names`, or float64, the numbers of a regression; none where words
    have `tags` instead: a text is then its words joined by one blank each.
    """

    texts: Sequence[str]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    ids: Sequence[str]
    tags: Tags | None = None

    def chunks(self) -> Iterator[Sequence[str]]:
        """All texts in order, some thousands at a time, read anew at each call.

        Raises: `UserError` if the file they come from has changed.
        """
        if isinstance(self.texts, Streamed):
            yield from self.texts.chunks()
            return
        for start in range(0, len(self.texts), CHUNK_TEXTS):
            yield self.texts[start : start + CHUNK_TEXTS]
