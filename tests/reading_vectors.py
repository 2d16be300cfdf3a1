"""What tests of vector files share: words, numbers, and how a file is opened or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.embeddings.formats.kinds import inspect, open_vectors
from bench.embeddings.vectors import VectorFile, WordVectors
from bench.errors import UserError
from bench.files import sha256_of

WORDS = ["кот", "naïve", "the", "日本", "x"]
ENCODED = [word.encode() for word in WORDS]
UNSEEN = ["котёнок", "naïveté", "theme", "日", "y", "<tag>", "преступление"]


def kept(cache: Path) -> list[Path]:
    """The files of a cache, but for the locks that processes wait at."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def opened(path: Path) -> WordVectors:
    layout = inspect(path)
    return open_vectors(VectorFile(path, layout.dimension, sha256_of(path)[:16], layout.kind, layout.member))


def vectors_of(vectors: WordVectors, words: Sequence[str]) -> np.ndarray:
    rows = vectors.find(words)
    assert (rows >= 0).all()
    return vectors.values(rows)


def refusal(look: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        look()
    message = str(raised.value)
    assert "\n" not in message
    return message


def numbers(rows: int, dimension: int = 6) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((rows, dimension)).astype(np.float32)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")
