"""What every vector file offers once it is open, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

Kind = Literal["text", "word2vec_binary", "fasttext_binary", "navec", "array"]


@dataclass(frozen=True)
class VectorFile:
    """A vector file found on this machine. dimension: elements per vector;  fingerprint: hash of its bytes;
    kind: its format;  member: the file inside an archive, or None;  origin: where it was found, in words."""

    path: Path
    dimension: int
    fingerprint: str
    kind: Kind = "text"
    member: str | None = None
    origin: str = "file"


class WordVectors(Protocol):
    """An open vector file. Opening and reading raise `UserError` that names file, line or row, and reason."""

    @property
    def dimension(self) -> int:
        """Elements per vector."""

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the vectors of some rows."""

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Vectors made of character n-grams, for words that the file lacks; None where the format has none.

        Returns: (words,) bool, which words have any n-gram;  (words, dimension) float32, zero for the others.
        """
