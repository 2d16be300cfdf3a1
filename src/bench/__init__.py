"""GRU first, LSTM only with evidence? Importing this package imports nothing heavy and has no side effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas

    from bench.runs.record import RunRecord

__version__ = "0.1.0"
__all__ = ["records", "run"]


def run(overrides: Sequence[str] = ()) -> RunRecord:
    """Execute one run, composed as on the command line, and return its record.

    A finished run is not repeated: its record is returned, unless `force=true` is among the overrides.

    overrides: such as `["model=lstm", "data=imdb", "training.epochs=3"]`.
    Raises: `bench.errors.UserError` for anything that the command line would refuse.
    """
    from bench.verbs.run import run_overrides

    return run_overrides(overrides)


def records(results: str | Path = "results") -> pandas.DataFrame:
    """All records below a results folder, one row an execution, columns as in `RunRecord` and the dotted config keys.

    Raises: `bench.errors.UserError` if the folder does not exist.
    """
    from bench.runs.store import Store

    return Store(results).table()
