"""Word vectors kept in the cache as they are best read: words and values in two memory-mapped files.

    FOLDER/words.arrow    Arrow IPC file, one column `word` of text
    FOLDER/values.npy     NumPy file, (rows, dimension) float32

Row i of one belongs to row i of the other. Both state their own lengths, so that a file cut short is noticed when it is
opened. To look a word up needs no index: the wanted words are hashed, and the words of the file run past them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.errors import UserError
from bench.files import cache_root

Rows = tuple[Sequence[str] | pa.Array, np.ndarray]

_WORDS, _VALUES = "words.arrow", "values.npy"
_LONG_BYTES = 900


class RepeatedWordError(ValueError):
    """A word stands in two rows. word: which one;  first, second: the rows, counted from 0."""

    def __init__(self, word: str, first: int, second: int) -> None:
        super().__init__(f"{word!r} in rows {first} and {second}")
        self.word, self.first, self.second = word, first, second


def build_store(folder: Path, dimension: int, rows: Iterable[Rows]) -> int:
    """Fill an empty folder with words and values, a block of rows at a time: never more than a block is in memory.

    For `bench.files.built_once(FOLDER, StoredVectors.open, lambda folder: build_store(folder, dimension, rows))`, so
    that it appears whole or not at all. Values are taken as they come: whoever reads them checks that they are finite.

    rows: pairs of the words of some rows, as strings or an Arrow array of them, and their values, (rows, dimension).
    Returns: the number of rows.
    Raises: `RepeatedWordError` if a word comes twice; `UserError` if the disk is full; whatever `rows` raises.
    """
    try:
        with (folder / _VALUES).open("wb") as values:
            total = write_words(folder, _values_kept(values, dimension, rows))
            values.seek(0)
            _write_header(values, total, dimension)
            values.flush()
            os.fsync(values.fileno())
    except OSError as error:
        raise UserError(f"cannot write to {cache_root()}: {error.strerror}; choose another: BENCH_CACHE=DIR") from None
    return total


def write_words(folder: Path, blocks: Iterable[Sequence[str] | pa.Array]) -> int:
    """Only the words of a store, for formats whose values are read in place; read them with `read_words`.

    Returns: the number of words.
    Raises: `RepeatedWordError` if a word comes twice.
    """
    schema = pa.schema([("word", pa.string())])
    total = 0
    with (folder / _WORDS).open("wb") as stream:
        with pa.ipc.new_file(stream, schema) as writer:
            for block in blocks:
                words = block if isinstance(block, pa.Array) else _bytes_of(block)
                writer.write_batch(pa.record_batch([words.cast(pa.string())], schema))
                total += len(words)
        stream.flush()
        os.fsync(stream.fileno())
    words = read_words(folder)
    if words is not None:
        _refuse_repeated(words)
    return total


def read_words(folder: Path) -> pa.ChunkedArray | None:
    """The words of a store, memory-mapped; None if they are absent or damaged."""
    try:
        with pa.memory_map(str(folder / _WORDS)) as source:
            words = pa.ipc.open_file(source).read_all().column("word").cast(pa.string())
        words.validate(full=True)
    except (OSError, pa.ArrowException, KeyError):
        return None
    return words


def rows_of(words: pa.ChunkedArray, wanted: Sequence[str]) -> np.ndarray:
    """(wanted,) int64: the first row of each wanted word, byte for byte, -1 for those that are absent."""
    asked = _bytes_of(wanted).dictionary_encode()
    rows = np.full(len(asked.dictionary), -1, np.int64)
    if len(words) and len(asked):
        kinds = pc.index_in(words.cast(pa.binary()), value_set=asked.dictionary)
        held = np.from_dlpack(pc.indices_nonzero(kinds.is_valid()))
        rows[np.from_dlpack(kinds.drop_null().combine_chunks())[::-1]] = held[::-1]  # of two rows the first comes last
    return np.asarray(rows[np.from_dlpack(asked.indices)])


def _bytes_of(words: Sequence[str]) -> pa.Array:
    """An Arrow array of the words' UTF-8. Made of buffers, and read through DLPack: the short ways import pandas."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


class StoredVectors:
    """An open store; the protocol `bench.embeddings.vectors.WordVectors`."""

    def __init__(self, words: pa.ChunkedArray, values: np.ndarray) -> None:
        self.words = words
        self._values = values

    @classmethod
    def open(cls, folder: Path) -> StoredVectors | None:
        """The store in a folder; None if it is absent or damaged."""
        words = read_words(folder)
        try:
            values = np.load(folder / _VALUES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        sound = words is not None and values.ndim == 2 and values.dtype == np.float32 and len(values) == len(words)
        return cls(words, values) if sound else None

    @property
    def dimension(self) -> int:
        """Elements per vector."""
        return int(self._values.shape[1])

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""
        return rows_of(self.words, words)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the vectors of some rows."""
        return np.asarray(self._values[rows], np.float32)

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """None: these vectors have no character n-grams."""
        return None


def _values_kept(stream: BinaryIO, dimension: int, rows: Iterable[Rows]) -> Iterator[Sequence[str] | pa.Array]:
    """Write the values of each block, pass its words on."""
    _write_header(stream, 0, dimension)
    for words, values in rows:
        if values.shape != (len(words), dimension):
            raise ValueError(f"{len(words)} words, values of shape {values.shape}, dimension {dimension}")
        stream.write(np.ascontiguousarray(values, np.float32).data)
        yield words


def _write_header(stream: BinaryIO, rows: int, dimension: int) -> None:
    """NumPy leaves room in it for the number of rows to grow, so that it can be written again over itself."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(stream, header)


def _refuse_repeated(words: pa.ChunkedArray) -> None:
    """Raise `RepeatedWordError` for the first word that comes twice.

    Words of 900 bytes and more may: GloVe's own tools cut words at 1,000 bytes (MAX_STRING_LENGTH in its
    src/common.h), and two that differed before can come out alike, as in https://github.com/clulab/eidos/issues/388.
    """
    if pc.count_distinct(words).as_py() == len(words):
        return
    seen: dict[str, int] = {}
    for row, word in enumerate(words.to_pylist()):
        first = seen.setdefault(word, row)
        if first != row and len(word.encode()) < _LONG_BYTES:
            raise RepeatedWordError(word, first, row)
