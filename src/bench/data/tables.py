"""Texts and labels from .parquet .csv .tsv .jsonl; whatever is wrong with them is told in one line.

Messages count rows from 1 without the header, and lines from 1 with it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.errors import UserError, did_you_mean

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}
LONGEST_TEXT = 10_000_000  # characters


@dataclass(frozen=True)
class Rows:
    """One split as it was read: texts (large_string), labels (int64 or string) and, where given, ids (string)."""

    source: str  # how messages name it: a file, or a split of a hub dataset
    texts: pa.Array
    labels: pa.Array
    ids: pa.Array | None = None


def find_splits(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder, such as `train.csv`, `validation.jsonl`.

    Raises: `UserError` if there is no train file, or more than one file for a split.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds train{{{','.join(_READERS)}}}")
    found: dict[str, Path] = {}
    for split, stems in SPLIT_NAMES.items():
        files = [path for stem in stems for kind in _READERS if (path := folder / f"{stem}{kind}").exists()]
        if len(files) > 1:
            raise UserError(f"{folder} holds both {files[0].name} and {files[1].name} for the {split} split: keep one")
        if files:
            found[split] = files[0]
    if "train" not in found:
        wanted = ", ".join(f"train{kind}" for kind in _READERS)
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UserError(f"{folder} lacks a train file: put one of {wanted} there (found: {present})")
    return found


def read_rows(path: Path, text_column: str, label_column: str) -> Rows:
    """Read one file.

    Raises: `UserError` in one line for anything that keeps the file from being texts with labels.
    """
    try:
        table = _READERS[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or _first_line(error)}): check the file") from None
    return rows_of(table, str(path), text_column, label_column)


def rows_of(table: pa.Table, source: str, text_column: str, label_column: str) -> Rows:
    """Texts, labels and ids of a table whose origin messages call `source`; errors as in `read_rows`."""
    if table.num_rows == 0:
        raise UserError(f"{source} holds no rows: add texts, or remove the file")
    for key, name in (("data.text_column", text_column), ("data.label_column", label_column)):
        if table.column_names.count(name) > 1:
            raise UserError(f"{source} has more than one column '{name}': rename or remove one")
        if name not in table.column_names:
            raise UserError(f"{source} has no column '{name}' ({key}): {did_you_mean(name, table.column_names)}")
    return Rows(source, _texts(table[text_column], source), _labels(table[label_column], source), _ids(table))


def _texts(column: pa.ChunkedArray, source: str) -> pa.Array:
    """The texts as one array; every one is valid UTF-8, not blank and of bearable length."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if not (_is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)):
        raise UserError(f"{source}: the text column holds {kind}, not text: choose another with data.text_column=NAME")
    try:
        texts = column.cast(pa.large_string()).combine_chunks()
        texts.validate(full=True)
    except pa.ArrowInvalid:
        row = _first_row(column.cast(pa.large_binary()).to_pylist(), lambda raw: raw is not None and not _is_utf8(raw))
        raise UserError(f"{source}, row {row}: the text is not UTF-8; convert the file to UTF-8") from None
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).fill_null(True).to_numpy(zero_copy_only=False)
    if blank.any():
        count, row = int(blank.sum()), int(blank.argmax()) + 1
        raise UserError(f"{source}: {count} empty text{'s' * (count > 1)}, first in row {row}: remove or fill the rows")
    lengths = pc.utf8_length(texts).to_numpy()
    if lengths.max() > LONGEST_TEXT:
        row, most = int(lengths.argmax()) + 1, f"{LONGEST_TEXT:,}"
        raise UserError(f"{source}, row {row}: a text of {lengths.max():,} characters, the limit is {most}: split it")
    return texts


def _labels(column: pa.ChunkedArray, source: str) -> pa.Array:
    """The labels as one array of int64, or of names without surrounding blanks."""
    labels = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    labels = labels.combine_chunks()
    if _is_text(labels.type):
        labels = pc.utf8_trim_whitespace(labels.cast(pa.string()))
        labels = pc.if_else(pc.equal(labels, ""), pa.scalar(None, pa.string()), labels)
    if labels.null_count:
        row = int(np.argmax(labels.is_null().to_numpy(zero_copy_only=False))) + 1
        raise UserError(f"{source}: {labels.null_count} rows without a label, first row {row}: label or remove them")
    if _is_text(labels.type) or pa.types.is_boolean(labels.type):
        return labels.cast(pa.string())
    try:
        return labels.cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(
            f"{source}: labels are {labels.type}, neither whole numbers nor names: choose data.label_column=NAME"
        ) from None


def _ids(table: pa.Table) -> pa.Array | None:
    """The column `id` as text; None where there is none that names every row."""
    if table.column_names.count("id") != 1:
        return None
    ids = table["id"].combine_chunks()
    if ids.null_count or not (_is_text(ids.type) or pa.types.is_integer(ids.type)):
        return None
    return ids.cast(pa.string())


def _read_parquet(path: Path) -> pa.Table:
    try:
        with path.open("rb") as stream:
            return pq.ParquetFile(stream).read()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = _first_line(error)
        raise UserError(f"{path} is damaged or no Parquet file ({reason}): copy or download it again") from None


def _read_csv(path: Path, delimiter: str = ",") -> pa.Table:
    previous = csv.field_size_limit(LONGEST_TEXT)
    reader = csv.reader(io.StringIO(_decode(path), newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                fields = f"{len(row)} fields where the header has {len(header)}"
                raise UserError(f"{path}, line {reader.line_num}: {fields}; quote texts that hold {delimiter!r}")
            if row:
                rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: malformed ({error}); check the quotes there") from None
    finally:
        csv.field_size_limit(previous)
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in header]
    return pa.Table.from_arrays([pa.array(column, pa.large_string()) for column in columns], names=header)


def _read_jsonl(path: Path) -> pa.Table:
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: no valid JSON ({_first_line(error)}); mend that line") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; write one {{...}} per line")
        records.append(record)
    names = list(dict.fromkeys(name for record in records for name in record))
    return pa.Table.from_arrays([_json_column(path, name, [r.get(name) for r in records]) for name in names], names)


def _json_column(path: Path, name: str, values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        first = next(value for value in values if value is not None)
        row = _first_row(values, lambda value: value is not None and not _fits(value, type(first)))
        kind = type(first).__name__
        raise UserError(
            f"{path}, row {row}: '{name}' is no {kind} in valid Unicode as in other rows; mend it"
        ) from None


def _fits(value: object, kind: type) -> bool:
    return type(value) is kind and (not isinstance(value, str) or value.isascii() or _encodes(value))


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        place = f"line {line}, byte {error.start} (0x{raw[error.start]:02x})"
        raise UserError(f"{path} is not UTF-8 at {place}: convert it, e.g. iconv -f latin1 -t utf-8") from None


def _first_row(values: Iterable[object], wrong: Callable[[Any], bool]) -> int:
    return next((row for row, value in enumerate(values, start=1) if wrong(value)), 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".tsv": lambda path: _read_csv(path, "\t"),
    ".jsonl": _read_jsonl,
}
