"""GRU first, LSTM only with evidence? Importing this package imports nothing heavy and has no side effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas

    from bench.analysis.verdict import Verdict
    from bench.config import ProtocolConfig
    from bench.runs.record import RunRecord
    from bench.runs.trained import TrainedRun

__version__ = "0.1.0"
__all__ = ["load", "records", "run", "verdict"]


def run(overrides: Sequence[str] = ()) -> RunRecord:
    """Execute one run, composed as on the command line, and return its record.

    A finished run is not repeated: its record is returned, unless `force=true` is among the overrides.

    overrides: such as `["model=lstm", "data=imdb", "training.epochs=3"]`.
    Raises: `bench.errors.UserError` for anything that the command line would refuse.
    """
    from bench.verbs.run import run_overrides

    return run_overrides(overrides)


def load(run: str = "latest", results: str | Path = "results", device: str = "cpu") -> TrainedRun:
    """A finished run for use, with the weights of its best epoch: `bench.load("3f9a").predict(["a text", "another"])`.

    run: its id, the beginning of it, or `latest`: of the finished runs with weights, the one started last;
    device: such as cpu, cuda.
    Raises: `bench.errors.UserError` if there is no such run, or no weights of it.
    """
    from bench.processor import limit_spinning

    limit_spinning()
    from bench.runs.store import Store
    from bench.runs.trained import load as load_run

    return load_run(Store(results), run, device)


def records(results: str | Path = "results") -> pandas.DataFrame:
    """All records below a results folder, one row an execution, columns as in `RunRecord` and the dotted config keys.

    Raises: `bench.errors.UserError` if the folder does not exist.
    """
    from bench.runs.store import Store

    return Store(results).table()


def verdict(records: pandas.DataFrame, protocol: ProtocolConfig | None = None, compare: str = "model.cell") -> Verdict:
    """What records say of the question which arm to choose: the decision table of docs/protocol.md, and its evidence.

    records: from `bench.records`, several folders' concatenated if need be;  protocol: None for the default one;
    compare: the key or group of the configuration that tells the arms apart.
    Raises: `bench.errors.UserError` if there is no such key.
    """
    from bench.analysis.verdict import verdict as judge_records
    from bench.compose import compose

    return judge_records(records, protocol or compose([]).protocol, compare)
