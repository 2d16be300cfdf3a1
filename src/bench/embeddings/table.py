"""The vectors of a vocabulary: found in a file or trained, made of n-grams, or drawn, and how many came from where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from bench.config import EmbeddingConfig
from bench.embeddings.formats.kinds import open_vectors
from bench.embeddings.numbers import number_vectors
from bench.embeddings.trained import train_vectors
from bench.embeddings.vectors import VectorFile, WordVectors
from bench.seeds import generator

SPECIAL_ROWS = 2  # row 0: padding, always zero; row 1: every word without a vector of its own


@dataclass(frozen=True)
class EmbeddingTable:
    """values: (SPECIAL_ROWS + words, dimension) float32;  origin: where vectors came from, in words.

    Counts of words by how they got their vector; coverages are shares of words and of training tokens that were found
    as written or in other case. All but the values are None for random vectors.
    """

    values: np.ndarray
    origin: str | None = None
    words_exact: int | None = None
    words_other_case: int | None = None
    words_subwords: int | None = None
    words_drawn: int | None = None
    coverage_types: float | None = None
    coverage_tokens: float | None = None


class _Way(IntEnum):
    """How a word got its vector."""

    DRAWN = 0
    EXACT = 1
    OTHER_CASE = 2
    SUBWORDS = 3


def build_table(
    embedding: EmbeddingConfig,
    words: Sequence[str],
    counts: np.ndarray,
    file: VectorFile | None,
    seed: int,
    *,
    training: Iterable[np.ndarray] | None = None,
) -> EmbeddingTable:
    """Vectors for every word of a vocabulary.

    words: the vocabulary;  counts: (words,) occurrences of each in the training part;  training: with `source=train`,
    the training texts as `train_vectors` reads them.
    A word is looked up as written, then in other case (`case_fallback`), then made of its n-grams (`subwords`). One
    that is not found gets the vector it would have under `embedding=random`: normal, standard deviation `scale`, from
    the `vectors` stream of the seed. With `embedding.name=numbers` words are numbers (`number_vectors`).
    Raises: `UserError` if the file cannot be read, or gensim is needed and absent.
    """
    if embedding.name == "numbers":
        return EmbeddingTable(number_vectors(words, SPECIAL_ROWS))
    dimension = file.dimension if file else embedding.dimension
    if dimension is None:
        raise ValueError("vectors without a file need embedding.dimension")
    values = generator(seed, "vectors").standard_normal((SPECIAL_ROWS + len(words), dimension), dtype=np.float32)
    if embedding.norm is None:
        values *= np.float32(embedding.scale)
    values[0] = 0
    opened = _open(embedding, words, file, seed, training)
    if opened is None:
        return EmbeddingTable(_scaled(values, embedding.norm))
    vectors, origin = opened
    ways = _fill(values[SPECIAL_ROWS:], vectors, words, embedding)
    if embedding.shuffle:
        _shuffle(values[SPECIAL_ROWS:], np.flatnonzero(ways), seed)
    return _counted(_scaled(values, embedding.norm), origin, ways, counts)


def _open(
    embedding: EmbeddingConfig,
    words: Sequence[str],
    file: VectorFile | None,
    seed: int,
    training: Iterable[np.ndarray] | None,
) -> tuple[WordVectors, str] | None:
    """The vectors that words are looked up in, and where they came from; None for random ones."""
    if file is not None:
        return open_vectors(file), file.origin
    if embedding.source == "file":
        return None
    if training is None:
        raise ValueError("embedding.source=train needs the training texts")
    return train_vectors(embedding, words, training, seed), f"{embedding.name} trained on the training part"


def _fill(values: np.ndarray, vectors: WordVectors, words: Sequence[str], embedding: EmbeddingConfig) -> np.ndarray:
    """Put vectors in the place of drawn ones. values: (words, dimension).

    Returns: (words,) int8, each word's `_Way`.
    """
    rows, ways = _find(vectors, words, embedding)
    found = np.flatnonzero(rows >= 0)
    values[found] = vectors.values(rows[found])
    missing = np.flatnonzero(rows < 0)
    composed = vectors.compose([words[k] for k in missing.tolist()]) if embedding.subwords and len(missing) else None
    if composed is not None:
        has_any, made = composed
        values[missing[has_any]] = made[has_any]
        ways[missing[has_any]] = _Way.SUBWORDS
    return ways


def has_vector(embedding: EmbeddingConfig, file: VectorFile, words: Sequence[str]) -> np.ndarray:
    """(words,) bool: which of them the file has, as written or, with `case_fallback`, in other case."""
    rows, _ = _find(open_vectors(file), words, embedding)
    found: np.ndarray = rows >= 0
    return found


def _find(vectors: WordVectors, words: Sequence[str], embedding: EmbeddingConfig) -> tuple[np.ndarray, np.ndarray]:
    """(words,) int64 rows in the file, negative where it has none;  (words,) int8, each word's `_Way`."""
    rows = vectors.find(words)
    ways = np.where(rows >= 0, _Way.EXACT, _Way.DRAWN).astype(np.int8)
    if embedding.case_fallback:
        missing = np.flatnonzero(rows < 0)
        rows[missing] = _find_other_case(vectors, [words[k] for k in missing.tolist()])
        ways[missing[rows[missing] >= 0]] = _Way.OTHER_CASE
    return rows, ways


def _find_other_case(vectors: WordVectors, words: Sequence[str]) -> np.ndarray:
    """(words,) int64: the row of each word in lower case, capitalised, or in upper case, the first that there is."""
    variants = [(word.lower(), word.capitalize(), word.upper()) for word in words]
    if not variants:
        return np.empty(0, np.int64)
    rows = vectors.find([variant for options in variants for variant in options]).reshape(-1, 3)
    first = (rows >= 0).argmax(axis=1)
    chosen: np.ndarray = rows[np.arange(len(rows)), first]
    return chosen


def _shuffle(values: np.ndarray, places: np.ndarray, seed: int) -> None:
    """Move the vectors at these places along one random circle through all of them, so that none stays."""
    circle = generator(seed, "shuffle").permutation(places)
    values[circle] = values[np.roll(circle, 1)]


def _scaled(values: np.ndarray, norm: float | None) -> np.ndarray:
    """All vectors at one Euclidean length, in place; those of length zero stay as they are."""
    if norm is not None:
        lengths = np.sqrt(np.einsum("rd,rd->r", values, values, dtype=np.float64))
        factors = np.divide(norm, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        values *= factors[:, None].astype(np.float32)
    return values


def _counted(values: np.ndarray, origin: str, ways: np.ndarray, counts: np.ndarray) -> EmbeddingTable:
    drawn, exact, other_case, subwords = np.bincount(ways, minlength=len(_Way)).tolist()
    found = (ways == _Way.EXACT) | (ways == _Way.OTHER_CASE)
    return EmbeddingTable(
        values,
        origin,
        words_exact=exact,
        words_other_case=other_case,
        words_subwords=subwords,
        words_drawn=drawn,
        coverage_types=(exact + other_case) / max(len(ways), 1),
        coverage_tokens=float(counts[found].sum() / max(counts.sum(), 1)),
    )
