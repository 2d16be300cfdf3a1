"""What `python -m bench status` says of a question: counted, timed and explained, before it has a format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property

from bench.runs.lease import Holder, Progress
from bench.runs.questions import question_names
from bench.runs.stored_claims import stored_parts
from bench.sweeps.status.estimate import Estimate, Past, with_progress
from bench.sweeps.status.state import QuestionState, RunState, Snapshot, State

JSON_SCHEMA_VERSION = 1
WAITING = "waiting"  # beside the states: runs that have no name yet, because they wait for those at equal width
COUNTED = (*map(str, State), WAITING)

_LEFT = (State.MISSING, State.INTERRUPTED, State.RUNNING)


@dataclass(frozen=True)
class Line:
    """Some runs. counts: by state, and those that wait;  left: the time until all that will be run has ended."""

    label: str
    counts: Mapping[str, int]
    left: Estimate

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Running:
    """A run that is being carried out."""

    run_id: str
    label: str
    holder: Holder

    @property
    def seconds(self) -> float:
        """For how long it has been running."""
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(self.holder.since)).total_seconds())

    @property
    def place(self) -> str:
        """On which machine, in words."""
        place = self.holder.place
        return f"this machine, {place}" if place.startswith("process") else place

    @property
    def progress(self) -> Progress | None:
        """How far it has come, once it has said so."""
        return self.holder.progress


@dataclass(frozen=True)
class Failure:
    """A run that failed or diverged."""

    run_id: str
    label: str
    error_type: str
    error_message: str


class Overview:
    """What is to be said of one question, or of the runs that belong to none."""

    def __init__(self, question: QuestionState, past: Past) -> None:
        """Take the question's state, and what its machine's runs took before."""
        self.question = question
        self.runs: dict[str, RunState] = {**question.trials, **question.runs}
        self._left = self._time_left(past)

    @property
    def name(self) -> str:
        """Of the question, for people."""
        return self.question.name or "runs of no question"

    @property
    def total(self) -> Line:
        """All runs but the trials; the time left is for these and for the trials, with as many at once as run now."""
        waiting = len(self.question.members.waiting)
        left = Estimate(self._left.runs, max(1, len(self.running)), waiting)
        return Line(self.name, _counts(self.question.runs.values(), waiting), left)

    @property
    def cells(self) -> list[Line]:
        """The runs cell by cell: those of one differ in their seed. A run that is wanted twice counts in both."""
        return [
            self._line(cell.label, {run_id: self.question.runs[run_id] for run_id in cell.run_ids}, cell.waiting)
            for cell in self.question.members.cells
        ]

    @property
    def trials(self) -> Line | None:
        """The trials of the tuning; None where nothing was tuned."""
        return self._line("trials of the tuning", self.question.trials) if self.question.trials else None

    @cached_property
    def running(self) -> list[Running]:
        """What is being carried out, trials included."""
        return [
            Running(run_id, self._label(run_id), run.holder)
            for run_id, run in self.runs.items()
            if run.holder is not None
        ]

    def failures(self, state: State) -> list[Failure]:
        """The runs that failed or diverged, trials included."""
        return [
            Failure(run_id, self._label(run_id), run.error_type or "unknown", run.error_message or "")
            for run_id, run in self.runs.items()
            if run.state is state
        ]

    @property
    def interrupted(self) -> dict[str, bool]:
        """The interrupted runs by id, trials included: whether there is a checkpoint to go on from."""
        return {run_id: run.goes_on for run_id, run in self.runs.items() if run.state is State.INTERRUPTED}

    @property
    def replaced(self) -> int:
        """Runs of earlier plans that later ones want in another form."""
        return len(self.question.members.replaced) + len(self.question.trial_members.replaced)

    def as_tree(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.question.name,
            **_tree(self.total),
            "cells": [{"label": cell.label, **_tree(cell)} for cell in self.cells],
            "trials": None if self.trials is None else _tree(self.trials),
            "running": [_running_tree(run) for run in self.running],
            "failed": [asdict(failure) for failure in self.failures(State.FAILED)],
            "diverged": [asdict(failure) for failure in self.failures(State.DIVERGED)],
            "interrupted": [{"run_id": run, "has_checkpoint": goes_on} for run, goes_on in self.interrupted.items()],
            "replaced": self.replaced,
        }

    def _label(self, run_id: str) -> str:
        question = self.question
        return question.members.labels.get(run_id) or question.trial_members.labels.get(run_id, "")

    def _line(self, label: str, runs: Mapping[str, RunState], waiting: int = 0) -> Line:
        return Line(label, _counts(runs.values(), waiting), self._left.of(runs, waiting))

    def _time_left(self, past: Past) -> Estimate:
        """Of every run that has not ended."""
        members = (*self.question.trial_members.all, *self.question.members.all)
        unended = past.estimate([member for member in members if self.runs[member.run_id].state in _LEFT], at_a_time=1)
        return with_progress(
            unended,
            {run.run_id: None if run.progress is None else run.progress.seconds_left for run in self.running},
        )


def overviews(snapshot: Snapshot, name: str | None) -> list[Overview]:
    """One question, the parts of one that is made of several, or all of them and the runs that belong to none.

    Raises: `UserError` if there is no question of this name.
    """
    past = Past(snapshot.records)
    if name is None:
        return [Overview(found, past) for found in snapshot.questions()]
    planned = question_names(snapshot.store)
    parts = [part for part in stored_parts(snapshot.store, name) if part in planned]
    return [Overview(snapshot.question(part), past) for part in parts or [name]]


def by_reason(failures: Iterable[Failure]) -> list[tuple[int, Failure]]:
    """Failures by the type of their error, the most frequent first: how many, and an example."""
    counted, examples = Counter[str](), dict[str, Failure]()
    for failure in failures:
        counted[failure.error_type] += 1
        examples.setdefault(failure.error_type, failure)
    return [(count, examples[kind]) for kind, count in counted.most_common()]


def _counts(runs: Iterable[RunState], waiting: int) -> dict[str, int]:
    counted = Counter(str(run.state) for run in runs)
    return {name: waiting if name == WAITING else counted[name] for name in COUNTED}


def _tree(line: Line) -> dict[str, object]:
    left = line.left
    return {
        "runs": line.runs, "counts": dict(line.counts), "seconds_left": left.seconds, "at_a_time": left.at_a_time,
        "runs_of_unknown_length": left.unknown,
    }  # fmt: skip


def _running_tree(run: Running) -> dict[str, object]:
    progress = None if run.progress is None else asdict(run.progress)
    return {
        "run_id": run.run_id, "label": run.label, "execution_id": run.holder.execution_id, "since": run.holder.since,
        "seconds": run.seconds, "place": run.place, "progress": progress,
    }  # fmt: skip
