"""What has become of every run that a question wants: read from its plans, the records and the leases.

The latest execution decides, but a finished run stays finished: its record is there, whoever runs it again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, cast

from bench.errors import UserError, did_you_mean
from bench.runs import index
from bench.runs.folders import RunFolder, run_folder, run_folders
from bench.runs.lease import Holder, holder_of
from bench.runs.questions import question_names, stored_plans, stored_trials, sweep_names
from bench.runs.store import Store
from bench.sweeps.status.estimate import COLUMNS
from bench.sweeps.status.members import Members, members_of

_log = logging.getLogger(__name__)
_DECIDING = ("run_id", "execution_id", "status", "error_type", "error_message")


class State(StrEnum):
    """What has become of a run."""

    FINISHED = "finished"
    RUNNING = "running"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"  # also without a record, where there is a checkpoint that nobody works on
    MISSING = "missing"  # planned, and no trace of it


@dataclass(frozen=True, slots=True)
class RunState:
    """What has become of one run. error_type, error_message: as recorded;  holder: of one that runs;
    goes_on: one that was interrupted has a checkpoint."""

    state: State
    error_type: str | None = None
    error_message: str | None = None
    holder: Holder | None = None
    goes_on: bool = False


@dataclass(frozen=True)
class QuestionState:
    """What has become of a question. name: None for the runs that belong to none;  runs, trials: by id, as planned."""

    name: str | None
    members: Members
    runs: Mapping[str, RunState]
    trial_members: Members
    trials: Mapping[str, RunState]


class Snapshot:
    """A results folder at one moment. records: the columns of all records that states and estimates need."""

    def __init__(self, store: Store) -> None:
        """Look at every run folder, and bring the index up to date.

        Raises: `UserError` if the results folder does not exist.
        """
        if not store.results.is_dir():
            raise UserError(
                f"no results folder at {store.results}: run `python -m bench` first, or name it: results=DIR"
            )
        self.store = store
        self.folders = run_folders(store.runs)
        self.records = _records(store, self.folders)
        self._last = _last_executions(self.records)

    def state_of(self, run_id: str) -> RunState:
        """What has become of a run."""
        last, folder = self._last.get(run_id), self.folders.get(run_id)
        if last is not None and last.status == State.FINISHED:
            return _FINISHED
        if folder is None:
            return _MISSING
        if folder.leased:
            if (holder := holder_of(Path(folder.path))) is not None:
                return RunState(State.RUNNING, holder=holder)
            last = _ended_meanwhile(self.store, run_id, folder) or last
        return _unfinished(last, folder)

    def question(self, name: str) -> QuestionState:
        """What has become of one question.

        Raises: `UserError` if there is none of this name.
        """
        names = question_names(self.store)
        if name not in names:
            hint = did_you_mean(name, names) if names else f"run it first: python -m bench -m +sweep={name}"
            raise UserError(f"no question '{name}' in {self.store.results}: {hint}")
        plans = stored_plans(self.store, name) if name in sweep_names(self.store) else []
        members, trials = members_of(plans), members_of(stored_trials(self.store, name))
        return QuestionState(name, members, self._states(members.run_ids), trials, self._states(trials.run_ids))

    def questions(self) -> list[QuestionState]:
        """All questions, and last, where there are any, the runs that belong to none."""
        found = [self.question(name) for name in question_names(self.store)]
        planned = {
            run_id
            for question in found
            for members in (question.members, question.trial_members)
            for run_id in (*members.run_ids, *members.replaced)
        }
        others = self._states(sorted(self.folders.keys() - planned))
        others = {run_id: run for run_id, run in others.items() if run.state is not State.MISSING}
        return [*found, QuestionState(None, members_of([]), others, members_of([]), {})] if others else found

    def _states(self, run_ids: Iterable[str]) -> dict[str, RunState]:
        return {run_id: self.state_of(run_id) for run_id in run_ids}


def recorded(store: Store) -> index.Columns:
    """The columns of all records that estimates need: a row an execution, in no order."""
    return _records(store, run_folders(store.runs))


class _Execution(NamedTuple):
    execution_id: str
    status: str
    error_type: str | None
    error_message: str | None


_FINISHED, _MISSING = RunState(State.FINISHED), RunState(State.MISSING)


def _records(store: Store, folders: Mapping[str, RunFolder]) -> index.Columns:
    """The columns of all records that states and estimates need; damaged records are skipped with a warning each."""
    found = {
        (run_id, execution_id): stamp
        for run_id, folder in folders.items()
        for execution_id, stamp in folder.recorded.items()
    }
    return index.plain(store.results / "index.parquet", found, store.row, [*dict.fromkeys((*_DECIDING, *COLUMNS))])


def _last_executions(records: index.Columns) -> dict[str, _Execution]:
    """By run, the recorded execution that decides: a finished one, else the latest."""
    last: dict[str, _Execution] = {}
    for run_id, *rest in zip(*(records[name] for name in _DECIDING), strict=True):
        execution = _Execution._make(rest)
        before = last.get(cast(str, run_id))
        if before is None or _decides(execution, before):
            last[cast(str, run_id)] = execution
    return last


def _decides(execution: _Execution, before: _Execution) -> bool:
    if State.FINISHED in (execution.status, before.status):
        return before.status != State.FINISHED
    return execution.execution_id > before.execution_id


def _ended_meanwhile(store: Store, run_id: str, folder: RunFolder) -> _Execution | None:
    """The record that a run has left since its folder was looked at: it held a lease then, and holds none now."""
    for execution_id in sorted(run_folder(folder.path).recorded.keys() - folder.recorded.keys(), reverse=True):
        record = store.read(run_id, execution_id)
        return _Execution(execution_id, record.status, record.error_type, record.error_message)
    return None


def _unfinished(last: _Execution | None, folder: RunFolder) -> RunState:
    """What has become of a run that nobody works on and that has not finished."""
    checkpoints = folder.checkpoints
    if checkpoints and (last is None or checkpoints[0] > last.execution_id):
        return RunState(State.INTERRUPTED, goes_on=True)
    if last is None:
        return _MISSING
    state = State(last.status)
    return RunState(
        state, last.error_type, last.error_message, goes_on=state == State.INTERRUPTED and bool(checkpoints)
    )
