"""What a table must hold to be texts with labels; whatever is wrong with it is told in one line.

A table comes in pieces, so that one larger than memory can pass. Messages count rows from 1 without the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bench.data.reading.columns import Progress, blank_texts, valid_ids, valid_labels, valid_numbers, valid_texts
from bench.data.reading.tagged import sentences
from bench.errors import UserError, did_you_mean

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Columns:
    """Which columns are read. start: where each text begins, in characters;  tagged: a text is a list of words, its
    label a list of tags;  numeric: a label is a number."""

    text: str = "text"
    label: str = "label"
    start: str | None = None
    tagged: bool = False
    numeric: bool = False

    def choose(self, names: Sequence[str], source: str) -> list[str]:
        """Those of a table's columns that are to be read, `id` among them if it is there once.

        Raises: `UserError` if one is missing or there twice.
        """
        wanted = {"data.text_column": self.text, "data.label_column": self.label}
        if self.start is not None:
            wanted["data.text_start_column"] = self.start
        for key, name in wanted.items():
            if names.count(name) > 1:
                raise UserError(f"{source} has more than one column '{name}': rename or remove one")
            if name not in names:
                raise UserError(f"{source} has no column '{name}' ({key}): {did_you_mean(name, names)}")
        return list(dict.fromkeys([*wanted.values(), *(["id"] if names.count("id") == 1 else [])]))


@dataclass(frozen=True)
class Rows:
    """Some rows of one split as they were read: texts (large_string), labels (int64, string, or float64 where they are
    numeric; null where a generated word is not judged), perhaps ids (string).

    offsets: (rows + 1,) int64, where each row's labels begin, if they are one a word.
    """

    source: str  # how messages name it: a file, or a split of a hub dataset
    texts: pa.Array
    labels: pa.Array
    ids: pa.Array | None = None
    offsets: np.ndarray | None = None


def checked(tables: Iterable[pa.Table], source: str, columns: Columns) -> Iterator[Rows]:
    """The rows of one table that comes in pieces, each piece as it comes.

    Raises: `UserError` in one line, `source` first, for anything that keeps rows from being texts with labels. Empty
    texts and missing labels are counted to the end of the table; no rows are given out after the first of them.
    """
    progress = Progress(source)
    for table in tables:
        rows = _rows(table, columns, progress)
        progress.before += table.num_rows
        if progress.sound:
            yield rows
    progress.end()


def _rows(table: pa.Table, columns: Columns, progress: Progress) -> Rows:
    """One piece."""
    offsets, source, before = None, progress.source, progress.before
    if columns.tagged:
        texts, labels, offsets = sentences(table[columns.text], table[columns.label], progress)
    else:
        texts = valid_texts(table[columns.text], source, before)
        progress.blank.see(blank_texts(texts), before)
        column = table[columns.label]
        labels = valid_numbers(column, source, before) if columns.numeric else valid_labels(column, source)
        progress.unlabelled.see(labels.is_null().to_numpy(zero_copy_only=False), before)
    if columns.start is not None and progress.sound:
        texts = _cut(texts, table[columns.start], columns.start, progress)
    return Rows(source, texts, labels, valid_ids(table), offsets)


def _cut(texts: pa.Array, starts: pa.ChunkedArray, column: str, progress: Progress) -> pa.Array:
    """Each text from the position on that stands beside it. What is left may be blank: the text stays, as it is."""
    cut = []
    for row, (text, start) in enumerate(zip(texts.to_pylist(), starts.to_pylist(), strict=True), progress.before + 1):
        try:
            position = -1 if isinstance(start, float) else int(start)
        except (TypeError, ValueError):
            position = -1
        if not 0 <= position <= len(text):
            is_no = f"'{column}' is {start}, no position in a text of {len(text)} characters"
            raise UserError(f"{progress.source}, row {row}: {is_no}: mend it, or set data.text_start_column=null")
        cut.append(text[position:])
    return pa.array(cut, pa.large_string())
