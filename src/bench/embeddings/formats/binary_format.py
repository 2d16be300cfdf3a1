"""word2vec's binary format (Mikolov et al. 2013): a line `rows dimension`, then a word, a blank and float32s per row.

    https://code.google.com/archive/p/word2vec, word2vec.c, TrainModel, and distance.c, main

word2vec.c ends each row with a line feed; gensim and the GoogleNews file do not: both are read. The file is read
through once, to note where each row begins; afterwards rows are read in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from bench.embeddings.formats.archives import opened
from bench.embeddings.formats.store import rows_of
from bench.embeddings.formats.unpacked import cached, mapped, name_of, plain_file, release
from bench.embeddings.formats.word_list import decoded, keep_words, kept_begins, kept_words
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once

_HEADER = re.compile(rb"(\d{1,12}) (\d{1,6})\r?\n")
_TEXT = re.compile(rb"[-+0-9.eE \n]+")
_LONGEST_WORD = 10_000  # bytes; word2vec.c cuts words at 100
_CHUNK_BYTES = 1 << 22
_BLOCK_ROWS = 1 << 12  # that are in memory at once


@dataclass(frozen=True)
class _Header:
    """rows, dimension: as promised;  end: bytes of the first line."""

    rows: int
    dimension: int
    end: int


def inspect_binary(path: Path, member: str | None = None) -> int:
    """The dimension of the vectors in a file of word2vec's binary format, from its first bytes; plain or compressed.

    Raises: `UserError` in one line if it is of another format.
    """
    name = name_of(path, member)
    with opened(path, member) as stream:
        header = _read_header(stream, name)
        _, _, first = stream.read(_LONGEST_WORD).partition(b" ")
    if _TEXT.fullmatch(first[: 4 * header.dimension]):
        raise UserError(f"{name}: word2vec's text format, not its binary one; name it .txt or .vec")
    return header.dimension


class BinaryVectors:
    """An open file of word2vec's binary format; the protocol `bench.embeddings.vectors.WordVectors`.

    When a file is opened for the first time all of it is checked but for its numbers: that rows are as many and as long
    as the first line promises, that no word comes twice, that words are UTF-8. Numbers are checked as they are read.
    """

    def __init__(self, file: VectorFile) -> None:
        """Open the file, and note where its rows begin unless the cache knows.

        Raises: `UserError` that names file, row or byte, and reason; nothing stays in the cache then.
        """
        self._name = name_of(file.path, file.member)
        path = plain_file(file)
        self.dimension = file.dimension
        self._words, self._begins = built_once(
            cached(file, "words"), _read_index, lambda folder: _index(folder, path, self._name)
        )
        self._bytes = mapped(path)

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""
        return rows_of(self._words, words)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the vectors of some rows.

        Raises: `UserError` that names the first row with a value that is not finite.
        """
        values = np.empty((len(rows), self.dimension), np.float32)
        for place, begin in enumerate(self._begins[rows].tolist()):
            values[place] = np.frombuffer(self._bytes, "<f4", self.dimension, begin)
            if place % _BLOCK_ROWS == 0:
                release(self._bytes)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            row = int(rows[bad[0]])
            raise UserError(
                f"{self._name}, row {row + 1} (byte {self._begins[row]}), {self._words[row].as_py()!r}: "
                "a value is not finite; is the file damaged?"
            )
        return values

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """None: the format has no character n-grams."""
        return None


def _read_index(folder: Path) -> tuple[pa.ChunkedArray, np.ndarray] | None:
    """The words, and the bytes at which their vectors begin, (rows,) int64; None if absent or damaged."""
    begins = kept_begins(folder)
    words = None if begins is None else kept_words(folder, len(begins))
    return None if begins is None or words is None else (words, begins)


def _index(folder: Path, path: Path, name: str) -> None:
    """Read a plain file through; keep its words and the bytes at which their vectors begin."""
    begins: list[np.ndarray] = []
    with opened(path) as stream:
        header = _read_header(stream, name)
        words = decoded(_walk(stream, header, begins, name), name=name, unit="row")
        keep_words(folder, words, lambda: np.concatenate(begins), name=name, unit="row")


def _read_header(stream: BinaryIO, name: str) -> _Header:
    line = stream.readline(32)
    found = _HEADER.fullmatch(line)
    if found is None:
        raise UserError(f"{name}: not vectors in word2vec's binary format, whose first line is `rows dimension`")
    header = _Header(int(found[1]), int(found[2]), len(line))
    if not (header.rows and header.dimension):
        raise UserError(f"{name}: its first line promises {header.rows} rows of dimension {header.dimension}")
    return header


def _walk(stream: BinaryIO, header: _Header, begins: list[np.ndarray], name: str) -> Iterator[list[bytes]]:
    """The words of all rows, some thousands at a time; the bytes at which their vectors begin are added to `begins`.

    Raises: `UserError` if the file ends too early or too late.
    """
    size = 4 * header.dimension
    buffer, base, row = b"", header.end, 0
    while row < header.rows:
        more = stream.read(_CHUNK_BYTES)
        buffer += more
        words, places, end = _rows_within(buffer, size, header.rows - row)
        row += len(words)
        if row < header.rows and not more:
            raise UserError(
                f"{name}: ends at byte {base + len(buffer)}, in row {row + 1} of the {header.rows} "
                "that its first line promises; is the download complete?"
            )
        if not words and len(buffer) > _LONGEST_WORD + size:
            raise UserError(f"{name}, row {row + 1} (byte {base}): no word of a sensible length; is the file damaged?")
        begins.append(np.array(places, np.int64) + base)
        yield words
        buffer, base = buffer[end:], base + end
    if (buffer + stream.read(2)) not in (b"", b"\n"):
        raise UserError(
            f"{name}: bytes follow the {header.rows} rows that its first line promises (from byte {base}); "
            "is the file damaged, or of another dimension?"
        )


def _rows_within(buffer: bytes, size: int, most: int) -> tuple[list[bytes], list[int], int]:
    """The words of the whole rows in some bytes, where their vectors of `size` bytes begin, and where the last ends."""
    words, places, end = [], [], 0
    for _ in range(most):
        blank = buffer.find(b" ", end, end + _LONGEST_WORD)
        if blank < 0 or blank + 1 + size > len(buffer):
            break
        words.append(buffer[end:blank].lstrip(b"\n"))
        places.append(blank + 1)
        end = blank + 1 + size
    return words, places, end
