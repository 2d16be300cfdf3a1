"""The vectors of a vocabulary: read where a file has them, drawn where it has not, and how much of it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.config import EmbeddingConfig
from bench.embeddings.formats import read_vectors
from bench.embeddings.vectors import VectorFile
from bench.seeds import generator

SPECIAL_ROWS = 2  # row 0: padding, always zero; row 1: every word without a vector of its own


@dataclass(frozen=True)
class EmbeddingTable:
    """values: (SPECIAL_ROWS + words, dimension) float32. Coverages are shares, None for random vectors."""

    values: np.ndarray
    coverage_types: float | None = None
    coverage_tokens: float | None = None


def build_table(
    embedding: EmbeddingConfig, words: Sequence[str], counts: np.ndarray, file: VectorFile | None, seed: int
) -> EmbeddingTable:
    """Vectors for every word of a vocabulary.

    words: the vocabulary;  counts: (words,) occurrences of each in the training part.
    Words that the file lacks get the vector they would have under `embedding=random`: normal, standard deviation
    `embedding.scale`, from the `vectors` stream of the seed.
    """
    dimension = file.dimension if file else embedding.dimension
    if dimension is None:
        raise ValueError("random vectors need embedding.dimension")
    drawn = generator(seed, "vectors").standard_normal((SPECIAL_ROWS + len(words), dimension), dtype=np.float32)
    values = drawn * np.float32(embedding.scale)
    values[0] = 0
    if file is None:
        return EmbeddingTable(values)
    found = read_vectors(file, words)
    values[found.rows + SPECIAL_ROWS] = found.values
    return EmbeddingTable(
        values,
        coverage_types=len(found.rows) / max(len(words), 1),
        coverage_tokens=float(counts[found.rows].sum() / max(counts.sum(), 1)),
    )
