"""The runs of a plan that are still to be carried out, handed out one at a time, whoever else works on them.

A second sweep on the same results folder takes part: what it holds is left alone, how it has ended is taken over, and
what it was holding when it died, or was interrupted, is handed out again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.runs.lease import holder_of
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.plan import Member

_LOOK_AGAIN_SECONDS = 1.0

Ended = Callable[[Member, Outcome, str | None], bool]  # returns: false where another process holds the run
Found = Callable[[Member, RunRecord], None]


class Queue:
    """What a launcher takes runs from and reports their endings to; everything is called from one thread."""

    def __init__(self, members: Sequence[Member], store: Store, ended: Ended, found: Found) -> None:
        """Begin.

        ended: takes in how a run's process ended;  found: takes in a record that another process has made.
        """
        self.store = store
        self.members = tuple(members)
        self.taken_over = 0  # runs that other processes have ended
        self._numbers = {member.run_id: number for number, member in enumerate(members, start=1)}
        self._waiting = deque(members)
        self._elsewhere: deque[Member] = deque()
        self._known = {member.run_id: store.recorded(member.run_id) for member in members}
        self._looked = 0.0
        self._ended = ended
        self._found = found

    @property
    def total(self) -> int:
        """Runs to be carried out, from the beginning."""
        return len(self.members)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out, now or later; what has been handed out and runs is not counted."""
        return not self._waiting and not self._elsewhere

    @property
    def elsewhere(self) -> int:
        """Runs that other processes hold."""
        return len(self._elsewhere)

    @property
    def waiting(self) -> int:
        """Runs that have not been handed out, those of other processes left out."""
        return len(self._waiting)

    def position(self, member: Member) -> str:
        """Such as `[3/20]`."""
        return f"[{self._numbers[member.run_id]}/{self.total}]"

    def next(self) -> Member | None:
        """A run that may start now; None where there is none at the moment (see `exhausted`)."""
        self._look_again()
        while self._waiting:
            member = self._waiting.popleft()
            if self._ended_elsewhere(member):
                continue
            if holder_of(self.store.runs / member.run_id) is None:
                return member
            self._elsewhere.append(member)
        return None

    def ended(self, member: Member, outcome: Outcome, execution_id: str | None = None) -> None:
        """Report how a run's process ended. execution_id: that it was started with, where it was."""
        if not self._ended(member, outcome, execution_id):
            self._elsewhere.append(member)

    def put_off(self, member: Member) -> None:
        """What was handed out has no place to run yet: it is the first to be handed out again."""
        self._waiting.appendleft(member)

    def give_back(self, member: Member) -> None:
        """What was handed out could not be started, because another process was faster."""
        self._elsewhere.append(member)

    def _look_again(self) -> None:
        """From time to time, see what has become of the runs that other processes hold."""
        now = time.monotonic()
        if self._elsewhere and now - self._looked > _LOOK_AGAIN_SECONDS:
            self._looked = now
            for _ in range(len(self._elsewhere)):
                member = self._elsewhere.popleft()
                if self._ended_elsewhere(member):
                    continue
                held = holder_of(self.store.runs / member.run_id) is not None
                (self._elsewhere if held else self._waiting).append(member)

    def _ended_elsewhere(self, member: Member) -> bool:
        """Take over how another process ended a run: a finished one always, a failed one if that is news."""
        executions = [] if member.config.force else self.store.executions(member.run_id)
        finished = (record for record in executions if record.status is Status.FINISHED)
        record = next(finished, None) or self._fresh_failure(member, executions)
        if record is not None:
            self.taken_over += 1
            self._found(member, record)
        return record is not None

    def _fresh_failure(self, member: Member, executions: Sequence[RunRecord]) -> RunRecord | None:
        """One of this sweep's time: what failed before it has been chosen to be tried again."""
        return next(
            (
                record
                for record in reversed(executions)
                if record.execution_id not in self._known[member.run_id]
                and record.status in (Status.FAILED, Status.DIVERGED)
            ),
            None,
        )
