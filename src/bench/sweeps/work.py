"""Carrying out plans: members go to the launcher, records come back, and where there is none one is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from rich.console import Console

from bench.runs.lease import holder_of
from bench.runs.questions import sweep_folder
from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.sweeps import tables
from bench.sweeps.endings import record_of_the_dead, was_busy
from bench.sweeps.launchers.base import RunLauncher
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.plan import Member


class Work:
    """What a sweep has carried out so far. records: of this call, by run id."""

    def __init__(self, store: Store, launcher: Launcher, console: Console, name: str) -> None:
        """Begin. launcher: ours, or one of Hydra's own;  name: of the sweep."""
        self.store = store
        self.launcher = launcher
        self.console = console
        self.logs = sweep_folder(store, name) / "logs"
        self.records: dict[str, RunRecord] = {}
        self._known: dict[str, set[str]] = {}

    def carry_out(self, members: Sequence[Member]) -> None:
        """Run what this call has not run yet.

        Raises: `KeyboardInterrupt` on Ctrl-C, after what was running has ended.
        """
        members = [member for member in members if member.run_id not in self.records]
        self._known |= {member.run_id: self.store.recorded(member.run_id) for member in members}
        if not members:
            return
        if isinstance(self.launcher, RunLauncher):
            self.launcher.run(Queue(members, self.store, self._ended, self._found), self.logs)
            return
        jobs, began = [list(member.overrides) for member in members], datetime.now(UTC)
        for member, job in zip(members, self.launcher.launch(jobs, initial_job_idx=len(self.records)), strict=True):
            self._ended(member, _outcome(job, began), None)

    def _ended(self, member: Member, outcome: Outcome, execution_id: str | None) -> bool:
        """Take in the record that a process left, or write the one that it could not; false if another one is at it."""
        if was_busy(outcome):
            return False
        fresh = [r for r in self.store.executions(member.run_id) if r.execution_id not in self._known[member.run_id]]
        if not fresh:
            made = None if member.config.force else self.store.finished(member.run_id)
            if made is not None:
                self._found(member, made)
                return True
            if holder_of(self.store.runs / member.run_id) is not None:
                return False
            fresh = [record_of_the_dead(member, outcome, execution_id)]
            self.store.write(fresh[0])
        self._take_in(member, fresh[-1])
        return True

    def _found(self, member: Member, record: RunRecord) -> None:
        """Another sweep has carried it out meanwhile."""
        self._take_in(member, record, " (by another sweep)")

    def _take_in(self, member: Member, record: RunRecord, remark: str = "") -> None:
        self.records[member.run_id] = record
        if remark or not self._speaks_for_itself:
            line = f"[{len(self.records)}/{len(self._known)}] {member.choice.label}: {tables.sentence(record)}{remark}"
            self.console.print(line, markup=False)

    @property
    def _speaks_for_itself(self) -> bool:
        """Whether runs print their ends to our terminal themselves."""
        return isinstance(self.launcher, RunLauncher) and self.launcher.shares_terminal


def _outcome(job: JobReturn, began: datetime) -> Outcome:
    """What one of Hydra's own launchers says of a job."""
    if job.status is JobStatus.COMPLETED:
        return Outcome(began, 0)
    error = job._return_value  # the property would print and raise it
    return Outcome(began, 1, " ".join(f"{type(error).__name__}: {error}".split()))
