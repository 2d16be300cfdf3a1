"""The queue of a sweep: what others hold is left alone, what they end is taken over, what they drop is handed out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from bench.runs.assemble import record_without_fit
from bench.runs.lease import Lease
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store, new_execution_id
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.plan import Member
from tests.conftest import Study
from tests.test_sweeper import plan_of


@dataclass
class Sweep:
    """What a queue told us, over a plan of three runs."""

    store: Store
    members: tuple[Member, ...]
    accepts: bool = True
    ended: list[str] = field(default_factory=list)
    found: list[tuple[str, Status]] = field(default_factory=list)

    def queue(self) -> Queue:
        return Queue(self.members, self.store, self._ended, self._found)

    def _ended(self, member: Member, outcome: Outcome, execution_id: str | None) -> bool:
        self.ended.append(member.run_id)
        return self.accepts

    def _found(self, member: Member, record: RunRecord) -> None:
        self.found.append((member.run_id, record.status))

    def hold(self, member: Member) -> Lease:
        return Lease.acquire(self.store.runs / member.run_id, new_execution_id(datetime.now(UTC)))

    def record(self, member: Member, status: Status) -> None:
        self.store.write(record_without_fit(member, datetime.now(UTC), {"status": status}))


@pytest.fixture
def sweep(study: Study) -> Sweep:
    store = Store(study.results)
    store.prepare()
    return Sweep(store, plan_of(study, "seed=0,1,2").members)


def eventually(queue: Queue, happened: Callable[[], bool]) -> Member | None:
    """What the queue hands out while it looks again at runs of others, until something has happened."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        member = queue.next()
        if happened() or member is not None:
            return member
        time.sleep(0.05)
    raise AssertionError("never happened")


def test_runs_are_handed_out_once_in_the_order_of_the_plan(sweep: Sweep) -> None:
    queue = sweep.queue()
    handed = [queue.next() for _ in range(4)]
    assert handed == [*sweep.members, None]
    assert queue.exhausted
    assert queue.position(sweep.members[2]) == "[3/3]"


def test_what_another_process_holds_is_left_alone_and_its_result_taken_over(sweep: Sweep) -> None:
    first, second, third = sweep.members
    lease, queue = sweep.hold(first), sweep.queue()
    assert [queue.next(), queue.next(), queue.next()] == [second, third, None]
    assert (queue.elsewhere, queue.exhausted) == (1, False)
    sweep.record(first, Status.FINISHED)
    lease.release()
    assert eventually(queue, lambda: queue.exhausted) is None
    assert sweep.found == [(first.run_id, Status.FINISHED)]
    assert queue.taken_over == 1


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED])
def test_what_failed_elsewhere_meanwhile_is_not_repeated(sweep: Sweep, status: Status) -> None:
    first = sweep.members[0]
    queue = sweep.queue()
    sweep.record(first, status)
    assert queue.next() == sweep.members[1]
    assert sweep.found == [(first.run_id, status)]


def test_what_failed_before_the_sweep_began_was_chosen_to_be_tried_again(sweep: Sweep) -> None:
    sweep.record(sweep.members[0], Status.FAILED)
    assert sweep.queue().next() == sweep.members[0]


def test_what_was_dropped_or_interrupted_elsewhere_is_handed_out_again(sweep: Sweep) -> None:
    first, second, third = sweep.members
    leases, queue = [sweep.hold(first), sweep.hold(second)], sweep.queue()
    assert [queue.next(), queue.next()] == [third, None]
    sweep.record(second, Status.INTERRUPTED)
    for lease in leases:
        lease.release()
    assert eventually(queue, lambda: False) == first
    assert queue.next() == second
    assert sweep.found == []
    assert queue.exhausted


def test_a_run_that_another_process_got_first_is_looked_at_again(sweep: Sweep) -> None:
    queue = sweep.queue()
    first = queue.next()
    assert first is not None
    lease = sweep.hold(first)
    queue.give_back(first)
    assert [queue.next(), queue.next(), queue.next()] == [*sweep.members[1:], None]
    lease.release()
    assert eventually(queue, lambda: False) == first


def test_a_process_that_met_another_one_at_its_run_is_no_ending(sweep: Sweep) -> None:
    sweep.accepts = False
    queue = sweep.queue()
    handed = [queue.next() for _ in range(3)]
    assert handed[0] is not None
    queue.ended(handed[0], Outcome(datetime.now(UTC), 2, "run x is being carried out already"))
    assert (queue.elsewhere, queue.exhausted) == (1, False)
    assert eventually(queue, lambda: False) == handed[0]


def test_what_has_no_place_to_run_yet_stays_the_next(sweep: Sweep) -> None:
    queue = sweep.queue()
    first = queue.next()
    assert first is not None
    queue.put_off(first)
    assert (queue.waiting, queue.exhausted) == (3, False)
    assert queue.next() == first
