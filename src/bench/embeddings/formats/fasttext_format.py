"""fastText's binary models (Bojanowski et al. 2017), `.bin`: vectors of words, and of their character n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.embeddings.formats.archives import opened
from bench.embeddings.formats.fasttext_layout import HEADER_BYTES, Dictionary, matrix_begin, quantised, read_header
from bench.embeddings.formats.ngrams import mean_rows, ngram_buckets
from bench.embeddings.formats.store import rows_of
from bench.embeddings.formats.unpacked import cached, mapped, name_of, plain_file, release
from bench.embeddings.formats.word_list import decoded, keep_words, kept_begins, kept_words
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once

_END_OF_SENTENCE = "</s>"
_BLOCK_WORDS = 250  # whose rows are in memory at once


def inspect_fasttext(path: Path, member: str | None = None) -> int:
    """The dimension of the vectors in a fastText model, from its first bytes; plain or compressed.

    Raises: `UserError` in one line if it is none, or one that cannot be read.
    """
    name = name_of(path, member)
    if name.endswith(".ftz"):
        raise quantised(name)
    with opened(path, member) as stream:
        return read_header(stream.read(HEADER_BYTES), name).dimension


class FastTextVectors:
    """An open fastText model; the protocol `bench.embeddings.vectors.WordVectors`.

    Nothing but the dictionary is read when it is opened; its words are kept in the cache. Sizes are all checked against
    each other and the file's own length. Numbers are checked as they are read. Labels, which a model trained on classes
    holds, are no words.
    """

    def __init__(self, file: VectorFile) -> None:
        """Open the file.

        Raises: `UserError` that names file, entry or byte, and reason; nothing stays in the cache then.
        """
        self._name = name_of(file.path, file.member)
        self._bytes = mapped(plain_file(file))
        self._header = read_header(self._bytes[:HEADER_BYTES], self._name)
        self._words, self._begin = built_once(cached(file, "words"), self._read_index, self._index)
        self._matrix = np.ndarray(self._header.shape, "<f4", self._bytes, self._begin)

    @property
    def dimension(self) -> int:
        """Elements per vector."""
        return self._header.dimension

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""
        return rows_of(self._words, words)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the mean of a word's own vector and those of its n-grams, for some words."""
        places = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.asarray(rows, np.int64))])
        return self._means(self._words.take(places).to_pylist(), rows)[1]

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """The means of the vectors of the n-grams of some words.

        Returns: (words,) bool, which words have any;  (words, dimension) float32, zero for the others. None if the
        model was trained without n-grams.
        """
        if not self._header.has_ngrams:
            return None
        return self._means(words, None)

    def _means(self, words: Sequence[str], own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The means of the rows of words' n-grams, and of their own where they have any.

        Returns: (words,) bool, which words have any row;  (words, dimension) float32.
        Raises: `UserError` that names the first row of the matrix with a value that is not finite.
        """
        has, means = np.zeros(len(words), bool), np.zeros((len(words), self.dimension), np.float32)
        for start in range(0, len(words), _BLOCK_WORDS):
            some = slice(start, start + _BLOCK_WORDS)
            rows, counts = self._ngram_rows(words[some])
            if own is not None:
                rows, counts = np.insert(rows, np.cumsum(counts) - counts, own[some]), counts + 1
            has[some], means[some] = counts > 0, mean_rows(self._matrix, rows, counts)
            if not np.isfinite(means[some]).all():
                raise self._not_finite(rows)
            release(self._bytes)
        return has, means

    def _ngram_rows(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the n-grams of some words, one word after the other, and how many each has."""
        header = self._header
        if not header.has_ngrams:
            return np.empty(0, np.int64), np.zeros(len(words), np.int64)
        encoded = [word.encode("utf-8", "surrogatepass") for word in words]
        buckets, counts = ngram_buckets(encoded, header.shortest, header.longest, header.buckets)
        if header.version:  # as in Dictionary::initNgrams, since version 11; gensim has n-grams of `</s>` all the same
            whole = np.array([word != _END_OF_SENTENCE for word in words])
            buckets, counts = buckets[np.repeat(whole, counts)], counts * whole
        return header.words + buckets, counts

    def _not_finite(self, rows: np.ndarray) -> UserError:
        row = next((row for row in rows.tolist() if not np.isfinite(self._matrix[row]).all()), int(rows[0]))
        where = self._begin + row * 4 * self.dimension
        return UserError(f"{self._name}, row {row + 1} (byte {where}): a value is not finite; is the file damaged?")

    def _read_index(self, folder: Path) -> tuple[pa.ChunkedArray, int] | None:
        """The words, and the byte at which the matrix begins; None if absent or damaged."""
        words, begins = kept_words(folder, self._header.words), kept_begins(folder)
        return None if words is None or begins is None else (words, int(begins[0]))

    def _index(self, folder: Path) -> None:
        """Read the dictionary, check what follows it, keep the words."""
        dictionary = Dictionary(self._bytes, self._header, self._name)

        def begins() -> np.ndarray:
            return np.array([matrix_begin(self._bytes, dictionary.end, self._header, self._name)])

        words = decoded(dictionary.words(), name=self._name, unit="entry")
        keep_words(folder, words, begins, name=self._name, unit="entry")
