"""What the columns of a table must hold: texts, labels, ids. Messages count rows from 1 without the header."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.errors import UserError
from bench.files import is_utf8

LONGEST_TEXT = 10_000_000  # characters


@dataclass
class Missing:
    """Rows that lack something, counted over a whole table. first: the number of the first one, from 1."""

    count: int = 0
    first: int = 0

    def see(self, lacking: np.ndarray, before: int) -> None:
        """Count. lacking: (rows,) bool;  before: how many rows came before these."""
        if lacking.any():
            self.first = self.first or before + int(lacking.argmax()) + 1
            self.count += int(lacking.sum())


@dataclass
class Progress:
    """How far a table has been read, and what was missing so far. before: rows of the pieces that are read."""

    source: str
    before: int = 0
    blank: Missing = field(default_factory=Missing)
    unlabelled: Missing = field(default_factory=Missing)

    @property
    def sound(self) -> bool:
        """Whether every row so far has a text and a label."""
        return not self.blank.count and not self.unlabelled.count

    def end(self) -> None:
        """The table is read. Raises: `UserError` if it had no rows, or rows that lack something."""
        if self.before == 0:
            raise UserError(f"{self.source} holds no rows: add texts, or remove the file")
        if self.blank.count:
            texts = f"{self.blank.count} empty text{'s' * (self.blank.count > 1)}"
            raise UserError(f"{self.source}: {texts}, first in row {self.blank.first}: remove or fill the rows")
        if self.unlabelled.count:
            rows = f"{self.unlabelled.count} rows without a label, first row {self.unlabelled.first}"
            raise UserError(f"{self.source}: {rows}: label or remove them")


def valid_texts(column: pa.ChunkedArray, source: str, before: int) -> pa.Array:
    """The texts as one array, valid UTF-8 of bearable length; there may be nulls."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if not (is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)):
        raise UserError(f"{source}: the text column holds {kind}, not text: choose another with data.text_column=NAME")
    try:
        texts = column.cast(pa.large_string()).combine_chunks()
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.large_binary()).to_pylist()
        row = next((row for row, text in enumerate(raw, before + 1) if text is not None and not is_utf8(text)), 1)
        raise UserError(f"{source}, row {row}: the text is not UTF-8; convert the file to UTF-8") from None
    lengths = pc.utf8_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    if lengths.max(initial=0) > LONGEST_TEXT:
        row, most = before + int(lengths.argmax()) + 1, f"{LONGEST_TEXT:,}"
        raise UserError(f"{source}, row {row}: a text of {lengths.max():,} characters, the limit is {most}: split it")
    return texts


def blank_texts(texts: pa.Array) -> np.ndarray:
    """(texts,) bool: null, empty, or nothing but blanks."""
    lengths = pc.utf8_length(pc.utf8_trim_whitespace(texts))
    blank: np.ndarray = pc.equal(lengths, 0).fill_null(True).to_numpy(zero_copy_only=False)
    return blank


def valid_labels(column: pa.ChunkedArray, source: str) -> pa.Array:
    """The labels as one array of int64, or of names without surrounding blanks; null where there is none."""
    labels = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    labels = labels.combine_chunks()
    if is_text(labels.type):
        labels = pc.utf8_trim_whitespace(labels.cast(pa.string()))
        labels = pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)
    if is_text(labels.type) or pa.types.is_boolean(labels.type):
        return labels.cast(pa.string())
    try:
        return labels.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"{source}: labels are {labels.type}, neither whole numbers nor names: choose data.label_column=NAME"
        ) from None


def valid_numbers(column: pa.ChunkedArray, source: str, before: int) -> pa.Array:
    """The labels of a regression as one array of finite float64; null where there is none."""
    labels = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    labels = labels.combine_chunks()
    if is_text(labels.type):
        labels = pc.utf8_trim_whitespace(labels.cast(pa.string()))
        labels = pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)
    if not (is_text(labels.type) or pa.types.is_integer(labels.type) or pa.types.is_floating(labels.type)):
        raise UserError(f"{source}: labels are {labels.type}, not numbers: choose data.label_column=NAME")
    for row, label in enumerate(labels.to_pylist(), before + 1):
        if label is not None and not _is_number(label):
            raise UserError(
                f"{source}, row {row}: label '{label}' is no number, as data.task=regression needs: mend it"
            )
    return labels.cast(pa.float64())


def _is_number(label: str | float) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def valid_ids(table: pa.Table) -> pa.Array | None:
    """The column `id` as text; None where there is none that names every row."""
    if table.column_names.count("id") != 1:
        return None
    ids = table["id"].combine_chunks()
    if ids.null_count or not (is_text(ids.type) or pa.types.is_integer(ids.type)):
        return None
    return ids.cast(pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
