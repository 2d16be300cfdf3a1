"""Tables in text files, .csv .tsv .jsonl, some thousand rows at a time. Messages count lines from 1."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.data.reading.columns import LONGEST_TEXT
from bench.errors import UserError

Choose = Callable[[Sequence[str]], list[str]]  # of a table's columns, those that are to be read

_ROWS, _CHARACTERS = 8_192, 4_000_000  # of one piece, at most


def utf8_lines(path: Path, newline: str = "\n") -> Iterator[str]:
    """The lines of a file with their ends, without a byte order mark. newline: as for `open`.

    Raises: `UserError` that names line and byte if the file is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as stream:
            yield from stream
    except UnicodeDecodeError:
        raise UserError(_not_utf8(path)) from None


def read_csv(path: Path, choose: Choose, delimiter: str = ",") -> Iterator[pa.Table]:
    """The chosen columns of a file whose first row names them, as strings.

    Raises: `UserError` that names the line if a row is malformed or has another number of fields than the first one.
    """
    reader = csv.reader(utf8_lines(path, ""), delimiter=delimiter, strict=True)
    for header in _csv_rows(path, reader, 1):
        while rows := _csv_rows(path, reader, _ROWS, len(header), delimiter):
            chosen = choose(header)
            places = [header.index(name) for name in chosen]
            columns = [pa.array([row[place] for row in rows], pa.large_string()) for place in places]
            yield pa.Table.from_arrays(columns, chosen)


def _csv_rows(path: Path, reader: Any, most: int, width: int | None = None, delimiter: str = ",") -> list[list[str]]:
    """The next rows that are not empty. width: how many fields each must have."""
    previous = csv.field_size_limit(LONGEST_TEXT)
    rows: list[list[str]] = []
    characters = 0
    try:
        for row in reader:
            if row and width is not None and len(row) != width:
                fields = f"{len(row)} fields where the header has {width}"
                raise UserError(f"{path}, line {reader.line_num}: {fields}; quote texts that hold {delimiter!r}")
            if row:
                rows.append(row)
                characters += sum(map(len, row))
            if len(rows) == most or characters > _CHARACTERS:
                break
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: malformed ({error}); check the quotes there") from None
    finally:
        csv.field_size_limit(previous)
    return rows


def read_jsonl(path: Path, choose: Choose) -> Iterator[pa.Table]:
    """The chosen columns of a file with one JSON object a line; the first rows tell which columns there are.

    Raises: `UserError` that names the line or row if one is no such object, or a value is of another type than before.
    """
    kinds: dict[str, tuple[pa.DataType, type]] = {}
    chosen: list[str] = []
    before = 0
    for records in _records(path):
        chosen = chosen or choose(list(dict.fromkeys(name for record in records for name in record)))
        columns = [_column(path, name, [record.get(name) for record in records], before, kinds) for name in chosen]
        yield pa.Table.from_arrays(columns, chosen)
        before += len(records)


def _records(path: Path) -> Iterator[list[dict[str, Any]]]:
    records: list[dict[str, Any]] = []
    characters = 0
    for number, line in enumerate(utf8_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).rstrip(".")
            raise UserError(f"{path}, line {number}: no valid JSON ({reason}); mend that line") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; write one {{...}} per line")
        records.append(record)
        characters += len(line)
        if len(records) == _ROWS or characters > _CHARACTERS:
            yield records
            records, characters = [], 0
    if records:
        yield records


def _column(
    path: Path, name: str, values: Sequence[object], before: int, kinds: dict[str, tuple[pa.DataType, type]]
) -> pa.Array:
    """The values of some rows as one array, of the type that earlier rows gave the column."""
    first = next((value for value in values if value is not None), None)
    try:
        column = pa.array(values)
        if first is None:
            return column
        known, kind = kinds.setdefault(name, (column.type, type(first)))
        if column.type == known or _widens(column.type, known):
            return column.cast(known)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        kind = kinds[name][1] if name in kinds else type(first)
    wrong = (row for row, value in enumerate(values, before + 1) if value is not None and not _fits(value, kind))
    is_no = f"'{name}' is no {kind.__name__} in valid Unicode as in other rows"
    raise UserError(f"{path}, row {next(wrong, before + 1)}: {is_no}; mend it")


def _widens(kind: pa.DataType, known: pa.DataType) -> bool:
    """Whether values of one type are also values of the other."""
    if pa.types.is_list(kind) and pa.types.is_list(known):
        return kind.value_type == known.value_type or bool(pa.types.is_null(kind.value_type))
    return bool(pa.types.is_integer(kind) and pa.types.is_floating(known))


def _fits(value: object, kind: type) -> bool:
    return type(value) is kind and (not isinstance(value, str) or value.isascii() or _encodes(value))


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(path: Path) -> str:
    """Where a file ceases to be UTF-8, and what to do about it."""
    before = 0
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                place = f"line {line}, byte {before + error.start} (0x{raw[error.start]:02x})"
                return f"{path} is not UTF-8 at {place}: convert it, e.g. iconv -f latin1 -t utf-8"
            before += len(raw)
    return f"{path} has changed meanwhile: type the command again"
