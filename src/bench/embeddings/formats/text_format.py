"""Word vectors in text: GloVe's format, and that of word2vec and fastText (.vec), which has a header with two counts.

A file is read once, whole and in order, and kept in the cache as it is best read (`store.py`). Every row is checked on
the way, and nothing is kept of a file with a bad one.
"""

from __future__ import annotations

from pathlib import Path

from bench.embeddings.formats.archives import opened
from bench.embeddings.formats.store import RepeatedWordError, StoredVectors, build_store
from bench.embeddings.formats.text_reader import LONGEST_LINE, TextReader, header_of
from bench.embeddings.formats.text_rows import is_number, trailing_numbers
from bench.embeddings.formats.unpacked import cached, name_of
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once

_STORE = 1  # the number changes when files are read differently than before


def open_text(file: VectorFile) -> StoredVectors:
    """Open the file as it was converted in the cache, converting it first if need be: one process does, others wait.

    Raises: `UserError` that names file, line and reason for a bad row.
    """
    folder = cached(file, f"text {_STORE}")
    return built_once(folder, StoredVectors.open, lambda work: _convert(file, work))


def inspect_text(path: Path, member: str | None = None) -> int:
    """The dimension of a text file of word vectors, by its first lines; `member`: of an archive.

    Raises: `UserError` if they are none, or if a header states another dimension than the first row has.
    """
    with opened(path, member) as stream:
        first = stream.readline(LONGEST_LINE)
        header = header_of(first)
        row = stream.readline(LONGEST_LINE) if header else first
    name = name_of(path, member)
    dimension = _dimension(name, row)
    if header and header[1] != dimension:
        raise UserError(
            f"{name}, line 2: {dimension} numbers where the header promises {header[1]}; is the file damaged?"
        )
    return dimension


def _dimension(name: str, row: bytes) -> int:
    """How many numbers end a row; its first field is no number but the word, or where the word begins."""
    fields = row.rstrip(b" \r\n").split(b" ")
    dimension = trailing_numbers(fields)
    if not dimension:
        raise UserError(f"{name}: not word vectors in text format (a word, then numbers, on a line)")
    word = fields[-1 - dimension]
    if b"\t" in word and is_number(word.rpartition(b"\t")[2]):
        raise UserError(f"{name}: a tab between word and numbers, where only blanks separate them; replace the tabs")
    return dimension


def _convert(file: VectorFile, folder: Path) -> None:
    """Read the whole file into a store."""
    reader = TextReader(file)
    try:
        build_store(folder, file.dimension, reader.rows())
    except RepeatedWordError as error:
        raise UserError(
            f"{reader.name}, line {reader.line_of(error.second)}: the word {error.word!r} stands in line "
            f"{reader.line_of(error.first)} already; which of the two counts? Remove the other"
        ) from None
    reader.look_back()
