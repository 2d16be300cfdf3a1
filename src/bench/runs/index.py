"""A table of all records, kept in one file beside them so that thousands are read in one go.

The index is never a source of truth: it can be deleted at any time and is rebuilt from the records.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.config import BenchConfig, Scalar
from bench.errors import UserError
from bench.files import write_atomically
from bench.runs.record import OF_QUESTIONS, RunRecord, field_types

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

Key = tuple[str, str]  # run_id, execution_id
Stamp = tuple[int, int]  # modification time in nanoseconds, size in bytes: when they change, the record is read again
Row = dict[str, Scalar]
Columns = dict[str, list[Scalar]]  # by name; a row an execution
Kind = Literal["text", "integer", "number", "flag", "flag_or_text", "json"]

_KINDS: dict[object, Kind] = {str: "text", int: "integer", float: "number", bool: "flag"}
_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,), "integer": (int,), "number": (int, float), "flag": (bool,), "flag_or_text": (bool, str),
}  # fmt: skip
_EXTRA = "_extra"  # JSON of configuration keys that this version does not know
_KEY = ("run_id", "execution_id")
_STAMP = ("_modified_ns", "_bytes")
_MANY = 200  # new records that are worth writing the index again


@cache
def columns() -> dict[str, Kind]:
    """Every column of the table and what it holds: the record's fields, then the dotted configuration keys.

    Lists and mappings of a record (`packages`, `kernel_operators`, …) stand in their column as JSON text.
    """
    scalars = field_types()
    of_record: dict[str, Kind] = {
        item.name: _KINDS[scalars[item.name]] if item.name in scalars else "json"
        for item in fields(RunRecord)
        if item.name != "config"
    }
    of_config = {
        name: kind
        for name, kind in _config_kinds(BenchConfig, "")
        if name not in of_record and not name.startswith(OF_QUESTIONS)
    }
    return {**of_record, **of_config}


def row_of(record: RunRecord) -> Row:
    """One row of the table.

    Raises: `UserError` if a value is not of its column's kind.
    """
    values = {**record.config, **{item.name: getattr(record, item.name) for item in fields(record)}}
    del values["config"]
    row = {name: _checked(name, values.pop(name, None), kind) for name, kind in columns().items()}
    unknown = {name: value for name, value in values.items() if value is not None}
    return {**row, _EXTRA: json.dumps(unknown) if unknown else None}


def refresh(path: Path, found: Mapping[Key, Stamp], read: Callable[[Key], Row | None]) -> pa.Table:
    """The index brought up to date with the records found on disk, and written back where that is allowed.

    found: the records that exist; read: the row of one of them, None where it is damaged.
    """
    import pyarrow as pa

    index = _load(path)
    kept = _kept(index, found)
    rows = []
    for key, stamp in found.items():
        if not kept.get(key) and (row := read(key)) is not None:
            rows.append({**row, **dict(zip(_STAMP, stamp, strict=True))})
    if not rows and all(kept.values()):
        return index
    fresh = pa.Table.from_pylist(rows, schema=index.schema)
    index = pa.concat_tables([index.filter(pa.array(list(kept.values()), pa.bool_())), fresh])
    index = index.sort_by([(name, "ascending") for name in ("started_at", "run_id", "execution_id")])
    _save(path, index)
    return index


def plain(path: Path, found: Mapping[Key, Stamp], read: Callable[[Key], Row | None], names: Sequence[str]) -> Columns:
    """Some columns of all records as plain lists, in no order, and fast: pandas is not imported, no more of the index
    is read than these columns, and it is written again only where many records are new.

    found, read: as in `refresh`;  names: as in `columns`.
    """
    index = _stored(path, [*dict.fromkeys((*names, *_KEY, *_STAMP))])
    kept = {} if index is None else _kept(index, found)
    fresh = [key for key in found if not kept.get(key)]
    if len(fresh) > _MANY:
        index, fresh = refresh(path, found, read), []
        kept = _kept(index, found)
    rows = [row for key in fresh if (row := read(key)) is not None]
    lists: Columns = {name: [] if index is None else index[name].to_pylist() for name in names}
    return {name: [*compress(values, kept.values()), *(row[name] for row in rows)] for name, values in lists.items()}


def to_frame(index: pa.Table) -> pandas.DataFrame:
    """The index as a data frame whose column types do not depend on its content: string, Int64, float64, boolean."""
    import pandas as pd
    import pyarrow as pa

    unknown = [json.loads(text) if text else {} for text in index[_EXTRA].to_pylist()]
    table = index.drop_columns([_EXTRA, *_STAMP])
    for name in sorted({name for entry in unknown for name in entry}):
        table = table.append_column(name, _column([entry.get(name) for entry in unknown]))
    dtypes = {pa.string(): pd.StringDtype("pyarrow"), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pandas.DataFrame = table.replace_schema_metadata(None).to_pandas(types_mapper=dtypes.get)
    return frame


def frame_of(records: Iterable[RunRecord]) -> pandas.DataFrame:
    """Records that need not be on disk, as the data frame that `bench.records` would give of them.

    Raises: `UserError` if a value is not of its column's kind.
    """
    import pyarrow as pa

    rows = [{**row_of(record), **dict.fromkeys(_STAMP, 0)} for record in records]
    return to_frame(pa.Table.from_pylist(rows, schema=_schema()))


def _config_kinds(schema: type, prefix: str) -> Iterator[tuple[str, Kind]]:
    """The dotted keys below a configuration class and what they hold once flattened."""
    for name, hint in typing.get_type_hints(schema).items():
        options = [option for option in _options(hint) if option is not types.NoneType]
        if is_dataclass(options[0]):
            yield from _config_kinds(typing.cast(type, options[0]), f"{prefix}{name}.")
        else:
            kinds = {_KINDS.get(option, "text") for option in options}
            yield f"{prefix}{name}", "flag_or_text" if kinds == {"flag", "text"} else _KINDS.get(options[0], "text")


def _options(hint: object) -> tuple[object, ...]:
    """The members of a union, or the hint itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _checked(name: str, value: object, kind: Kind) -> Scalar:
    """The value as its column holds it."""
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value)
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind not in ("flag", "flag_or_text")):
        raise UserError(f"damaged run record: {name} is {value!r}, which is no {kind.replace('_', ' ')}")
    if kind == "flag_or_text" and isinstance(value, bool):
        return str(value).lower()
    return typing.cast(Scalar, value)


def _schema() -> pa.Schema:
    """The index file's schema; its fingerprint tells an index of another version of the program."""
    import pyarrow as pa

    arrow = {
        "text": pa.string(),
        "json": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "flag_or_text": pa.string(),
    }
    names = [(name, arrow[kind]) for name, kind in columns().items()]
    names += [(_EXTRA, pa.string()), *((name, pa.int64()) for name in _STAMP)]
    fingerprint = hashlib.sha256(json.dumps(columns()).encode()).hexdigest()
    return pa.schema(names, metadata={"columns": fingerprint})


def _load(path: Path) -> pa.Table:
    """The index as it was last written; empty where there is none."""
    index = _stored(path)
    return _schema().empty_table() if index is None else index


def _stored(path: Path, names: Sequence[str] | None = None) -> pa.Table | None:
    """The index as it was last written; None where it is absent, damaged, or of other columns. names: None for all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # `read_table` would import far more of the library
            return file.read(columns=names) if file.schema_arrow.equals(_schema(), check_metadata=True) else None
    except (OSError, pa.ArrowException):
        return None


def _kept(index: pa.Table, found: Mapping[Key, Stamp]) -> dict[Key, bool]:
    """For every row of the index, whether its record is still the one on disk."""
    keys = zip(*(index[name].to_pylist() for name in _KEY), strict=True)
    stamps = zip(*(index[name].to_pylist() for name in _STAMP), strict=True)
    return {key: found.get(key) == stamp for key, stamp in zip(keys, stamps, strict=True)}


def _save(path: Path, index: pa.Table) -> None:
    """Keep the index for the next reader; a folder that cannot be written to is merely read more slowly."""
    import pyarrow.parquet as pq

    with contextlib.suppress(OSError, UserError):
        write_atomically(path, lambda temporary: pq.write_table(index, temporary, compression="zstd"))


def _column(values: Iterable[Scalar]) -> pa.Array:
    """A column of unknown meaning, typed by what it holds."""
    import pyarrow as pa

    values = list(values)
    held = {type(value) for value in values if value is not None}
    if held in ({bool}, {int}, {float}, {int, float}):
        return pa.array([float(v) if v is not None and float in held else v for v in values])
    return pa.array([None if value is None else str(value) for value in values], pa.string())
