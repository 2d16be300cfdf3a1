"""Word vectors trained on a run's own training texts: word2vec (Mikolov et al. 2013) and fastText (Bojanowski et al.
2017), through gensim.

    CACHE/trained/<digest>/vectors.npy, ways.npy

The digest is that of the texts and of all settings, the seed among them. One worker trains, so that the same digest
stands for the same bits, whichever process asks.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.config import EmbeddingConfig
from bench.errors import UserError, notice
from bench.files import built_once, cache_root
from bench.seeds import integer

_FORMAT = 1  # of the cache; part of its key
_STREAM = 1  # sub-stream of `vectors` that training draws from
_BUCKETS = 200_000  # for n-grams: fastText's own two million take 800 MB at 100 dimensions, and serve larger corpora
_TOLD_FROM = 3_000_000  # tokens in all passes: what takes longer than half a minute, a person should know of
_LONGEST = 10_000  # words in a sentence; gensim would drop what is beyond
_LACKING, _TRAINED, _COMPOSED = 0, 1, 2


class TrainedVectors:
    """Trained vectors of one vocabulary, as `bench.embeddings.vectors.WordVectors`."""

    def __init__(self, words: Sequence[str], vectors: np.ndarray, ways: np.ndarray, has_subwords: bool) -> None:
        """vectors: (words, dimension) float32;  ways: (words,) int8: lacking, trained, or composed of n-grams."""
        self._rows = {word: row for row, word in enumerate(words)}
        self._vectors = vectors
        self._ways = np.append(ways, np.int8(_LACKING))  # the last one is that of row -1
        self._has_subwords = has_subwords

    @property
    def dimension(self) -> int:
        """Elements per vector."""
        return int(self._vectors.shape[1])

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word that was trained, -1 for others."""
        rows = self._place(words)
        return np.where(self._ways[rows] == _TRAINED, rows, -1)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32."""
        return np.asarray(self._vectors[rows], np.float32)

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Vectors made of character n-grams, for words of the vocabulary that no training text holds."""
        if not self._has_subwords:
            return None
        rows = self._place(words)
        has_any = self._ways[rows] == _COMPOSED
        return has_any, np.where(has_any[:, None], self._vectors[rows], np.float32(0))

    def _place(self, words: Sequence[str]) -> np.ndarray:
        return np.array([self._rows.get(word, -1) for word in words], np.int64)


def train_vectors(
    embedding: EmbeddingConfig, words: Sequence[str], texts: Iterable[np.ndarray], seed: int
) -> TrainedVectors:
    """Train vectors, or read from the cache what was trained on the same texts with the same settings.

    words: the vocabulary;  texts: each text's tokens as positions in `words`, unknown ones left out; gone through
    several times;  seed: of the run; training draws from a stream of its own.
    Raises: `UserError` if gensim is absent.
    """
    content, tokens = _digest(words, texts)
    settings = [
        _FORMAT, check_gensim(), embedding.name, embedding.algorithm, embedding.window, embedding.passes,
        embedding.dimension, integer(seed, "vectors", _STREAM) % 2**32, content,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]

    def read(folder: Path) -> TrainedVectors | None:
        return _read(folder, words, embedding)

    def build(folder: Path) -> None:
        if tokens * embedding.passes >= _TOLD_FROM:
            notice(
                f"training {embedding.name} vectors on {tokens:,} tokens, passes: {embedding.passes}; "
                "this takes minutes, once: they are kept in the cache"
            )
        vectors, ways = _train(embedding, words, texts, integer(seed, "vectors", _STREAM) % 2**32)
        np.save(folder / "vectors.npy", vectors, allow_pickle=False)
        np.save(folder / "ways.npy", ways, allow_pickle=False)

    return built_once(cache_root() / "trained" / f"{embedding.name}-{digest}", read, build)


def check_gensim() -> str:
    """The version of gensim that is installed, without importing it.

    Raises: `UserError` if there is none.
    """
    try:
        return importlib.metadata.version("gensim")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "embedding.source=train needs gensim, which is not installed; type: pip install 'recurrent-bench[gensim]'"
        ) from None


def _digest(words: Sequence[str], texts: Iterable[np.ndarray]) -> tuple[str, int]:
    """Of the vocabulary, and of the tokens and lengths of all texts; and how many tokens there are."""
    digest = hashlib.sha256(json.dumps(list(words)).encode())
    lengths = []
    for text in texts:
        digest.update(text.astype("<i4").tobytes())
        lengths.append(len(text))
    digest.update(np.array(lengths, "<i8").tobytes())
    return digest.hexdigest(), sum(lengths)


def _read(folder: Path, words: Sequence[str], embedding: EmbeddingConfig) -> TrainedVectors | None:
    try:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        ways = np.load(folder / "ways.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.shape != (len(words), embedding.dimension) or ways.shape != (len(words),):
        return None
    return TrainedVectors(words, vectors, ways, has_subwords=embedding.name == "fasttext")


class _Sentences:
    """Texts as gensim reads them: lists of words, again with each iteration."""

    def __init__(self, words: Sequence[str], texts: Iterable[np.ndarray]) -> None:
        self._words, self._texts = words, texts

    def __iter__(self) -> Iterator[list[str]]:
        words = self._words
        for text in self._texts:
            for start in range(0, len(text), _LONGEST):
                yield [words[position] for position in text[start : start + _LONGEST].tolist()]


def _train(
    embedding: EmbeddingConfig, words: Sequence[str], texts: Iterable[np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (words, dimension) float32, and the way (words,) int8 that each word came by its own."""
    from gensim.models import FastText, Word2Vec

    assert embedding.dimension is not None  # build_config saw to it
    vectors, ways = np.zeros((len(words), embedding.dimension), np.float32), np.zeros(len(words), np.int8)
    sentences = _Sentences(words, texts)
    if not any(True for _ in sentences):
        return vectors, ways
    settings = {
        "vector_size": embedding.dimension, "window": embedding.window, "sg": int(embedding.algorithm == "skipgram"),
        "min_count": 1, "workers": 1, "seed": seed,
    }  # fmt: skip
    with _quiet_gensim():
        model = FastText(**settings, bucket=_BUCKETS) if embedding.name == "fasttext" else Word2Vec(**settings)
        model.build_vocab(sentences)
        model.train(sentences, total_examples=model.corpus_count, epochs=embedding.passes)
    for row, word in enumerate(words):
        if word in model.wv.key_to_index:
            vectors[row], ways[row] = model.wv.vectors[model.wv.key_to_index[word]], _TRAINED
        elif embedding.name == "fasttext" and len(word) > 0:
            try:
                vectors[row], ways[row] = model.wv.get_vector(word), _COMPOSED
            except KeyError:  # it has no n-gram
                continue
    return vectors, ways


@contextmanager
def _quiet_gensim() -> Iterator[None]:
    """Without gensim's advice on settings that are not the person's to choose here."""
    logger = logging.getLogger("gensim")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
