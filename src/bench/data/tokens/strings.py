"""Many short strings in a file: memory-mapped, and turned into Python's strings when they are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa

_BATCH = 65_536
_SCHEMA = pa.schema([("value", pa.large_string())])


class Strings(Sequence[str]):
    """A sequence of strings held by Arrow."""

    def __init__(self, values: pa.ChunkedArray, rows: np.ndarray | None = None) -> None:
        """values: large_string;  rows: (strings,) int64, which of them and in what order; None for all."""
        self._values = values
        self._rows = rows

    @classmethod
    def of(cls, values: Iterable[str]) -> Strings:
        """Strings that are in memory already."""
        return cls(pa.chunked_array([pa.array(list(values), pa.large_string())]))

    @classmethod
    def read(cls, path: Path) -> Strings:
        """A file that `write_strings` wrote.

        Raises: `OSError`, `pyarrow.ArrowException` or `KeyError` for anything else.
        """
        values = pa.ipc.open_file(pa.memory_map(str(path))).read_all()["value"]
        if values.type != pa.large_string():
            raise pa.ArrowInvalid(f"{path} holds {values.type}")
        values.validate(full=True)
        return cls(values)

    def __len__(self) -> int:
        return len(self._values) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """One string, or a list of some."""
        rows = np.arange(len(self)) if self._rows is None else self._rows
        if isinstance(row, slice):
            return self._take(rows[row])
        return str(self._values[int(rows[row])].as_py())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BATCH):
            yield from self[first : first + _BATCH]

    def subset(self, rows: np.ndarray) -> Strings:
        """Some of the strings, in the given order."""
        return Strings(self._values, rows if self._rows is None else self._rows[rows])

    def take(self, rows: np.ndarray) -> list[str]:
        """Some of the strings, in the given order, as Python's."""
        return list(self.subset(rows)[:])

    def _take(self, rows: np.ndarray) -> list[str]:
        taken: list[str] = self._values.take(pa.array(rows, pa.int64())).to_pylist()
        return taken


def write_strings(path: Path, values: Iterable[str]) -> None:
    """Write strings, some at a time."""
    remaining = iter(values)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while batch := list(islice(remaining, _BATCH)):
            writer.write_batch(pa.record_batch([pa.array(batch, pa.large_string())], schema=_SCHEMA))
