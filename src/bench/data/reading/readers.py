"""Files with texts, read a piece at a time: .parquet .csv .tsv .jsonl, and .conllu where words have tags."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.reading.conllu import read_conllu
from bench.data.reading.lines import Choose, read_csv, read_jsonl
from bench.data.reading.tables import SPLIT_NAMES, Columns, Rows, checked
from bench.errors import UserError

Stream = Callable[[], Iterator[Rows]]  # the rows of one split, read anew at each call

_ROWS, _BYTES = 8_192, 4_000_000  # of one piece of a Parquet file, at most
_BUFFER = 1 << 20  # bytes read ahead in each column, in place of the whole column of a row group


def find_splits(folder: Path, *, tagged: bool = False) -> dict[str, Path]:
    """The file of each split in a folder, such as `train.csv`, `validation.jsonl`.

    Raises: `UserError` if there is no train file, or more than one file for a split.
    """
    kinds = [kind for kind in _READERS if kind in (_TAGGED if tagged else _LABELLED)]
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds train{{{','.join(kinds)}}}")
    found: dict[str, Path] = {}
    for split, stems in SPLIT_NAMES.items():
        files = [path for stem in stems for kind in kinds if (path := folder / f"{stem}{kind}").exists()]
        if len(files) > 1:
            raise UserError(f"{folder} holds both {files[0].name} and {files[1].name} for the {split} split: keep one")
        if files:
            found[split] = files[0]
    if "train" not in found:
        wanted = ", ".join(f"train{kind}" for kind in kinds)
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UserError(f"{folder} lacks a train file: put one of {wanted} there (found: {present})")
    return found


def stream_of(path: Path, columns: Columns) -> Stream:
    """The rows of a file as it is now.

    Reading raises `UserError` in one line for anything that keeps the file from being texts with labels, and if it is
    no longer the file that it was.
    """
    return partial(_read, path, columns, _state(path))


def _read(path: Path, columns: Columns, state: tuple[int, ...] | None) -> Iterator[Rows]:
    _see_unchanged(path, state)
    yield from checked(_tables(path, columns), str(path), columns)
    _see_unchanged(path, state)


def _see_unchanged(path: Path, state: tuple[int, ...] | None) -> None:
    if _state(path) != state:
        raise UserError(f"{path} has changed meanwhile: type the command again")


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes with a file's content; None where it cannot be seen."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns, seen.st_ino


def _tables(path: Path, columns: Columns) -> Iterator[pa.Table]:
    try:
        yield from _READERS[path.suffix](path, lambda names: columns.choose(names, str(path)))
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise UserError(f"{path} cannot be read ({reason}): check the file") from None


def _read_parquet(path: Path, choose: Choose) -> Iterator[pa.Table]:
    """The chosen columns, read through small buffers: a row group may be larger than memory."""
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            if file.metadata.num_rows == 0:
                return
            names = choose(file.schema_arrow.names)
            for batch in file.iter_batches(_rows_at_once(file.metadata), columns=names):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = _first_line(error)
        raise UserError(f"{path} is damaged or no Parquet file ({reason}): copy or download it again") from None


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """As many rows as are some megabytes, going by the mean."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    rows: int = _BYTES * metadata.num_rows // max(1, size)
    return max(1, min(_ROWS, rows))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


_READERS: Mapping[str, Callable[[Path, Choose], Iterator[pa.Table]]] = {
    ".parquet": _read_parquet,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".jsonl": read_jsonl,
    ".conllu": read_conllu,
}
_LABELLED = (".parquet", ".csv", ".tsv", ".jsonl")
_TAGGED = (".parquet", ".jsonl", ".conllu")
