"""The piece of work that all contestants train, and its texts on disk; needs NumPy alone, under any interpreter."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Work:
    """One recurrent layer between word vectors and one logit, read from the last state, trained with Adam.

    folder: of the texts (`texts.npz`);  rows: of the table of word vectors, row 0 being padding;  batch: texts a step;
    max_length: tokens kept of a text;  overrides: the same work as the program's command line says it.
    """

    folder: str
    cell: str
    rows: int
    embedding: int
    hidden: int
    batch: int
    max_length: int
    learning_rate: float
    threads: int
    seed: int
    overrides: tuple[str, ...]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Work:
        """What `to_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, "overrides": tuple(values["overrides"])})


@dataclass(frozen=True)
class Texts:
    """Encoded texts. tokens: one int32 array a text, rows of the table;  labels: (texts,) int64, 0 or 1;
    chosen: (texts,) int64, where they stand in the program's own training part."""

    tokens: list[np.ndarray]
    labels: np.ndarray
    chosen: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64: tokens of each."""
        return np.array([len(text) for text in self.tokens])

    def save(self, folder: Path) -> None:
        """Write `texts.npz`."""
        np.savez(
            folder / "texts.npz", ids=np.concatenate(self.tokens), ends=np.cumsum(self.lengths)[:-1],
            labels=self.labels, chosen=self.chosen,
        )  # fmt: skip

    @classmethod
    def load(cls, folder: str) -> Texts:
        """Read `texts.npz`."""
        with np.load(Path(folder) / "texts.npz") as arrays:
            tokens = np.split(arrays["ids"], arrays["ends"])
            return cls(tokens, arrays["labels"], arrays["chosen"])


@dataclass(frozen=True)
class Turn:
    """One pass over the texts. seconds: waiting for data included;  tokens: real ones;  padded_tokens: all that were
    computed;  clock_seconds: of the same turn as the program's own clock reads it, for our own contestants."""

    seconds: float
    samples: int
    tokens: int
    padded_tokens: int
    clock_seconds: float | None = None


@dataclass(frozen=True)
class Ready:
    """What a contestant says of itself before the first turn. parameters: all that are trained."""

    parameters: int
    versions: dict[str, str]
    threads: int
