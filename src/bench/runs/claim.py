"""The claim to carry out one run: its execution has a name, and no other process is at it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.distributed import is_first_process
from bench.errors import UserError
from bench.runs.folders import RECORD
from bench.runs.lease import EXECUTION, Lease
from bench.runs.liveness import end_with_parent
from bench.runs.record import RunRecord
from bench.runs.store import Store, new_execution_id

_EXECUTION_ID = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class Claim:
    """What `claim` grants.

    execution_id, lease: of no meaning and None in the processes that a distributed run starts beside the first one;
    finished: the record that another process has made while we were on our way, so that nothing is left to do.
    """

    execution_id: str
    lease: Lease | None = None
    finished: RunRecord | None = None


@contextmanager
def claim(store: Store, run_id: str, again: bool = False) -> Iterator[Claim]:
    """Hold a run while the block lasts. Imports no torch: what is busy is known at once.

    again: whether to carry it out although it is finished.
    Raises: `BusyError` if another living process holds it.
    """
    if not is_first_process():
        end_with_parent()  # else it would wait for the first one, if that is killed
        yield Claim(new_execution_id(datetime.now(UTC)))
        return
    execution_id = _execution_id(store, run_id)
    lease = Lease.acquire(store.runs / run_id, execution_id)
    try:
        yield Claim(execution_id, lease, None if again else store.finished(run_id))
    finally:
        lease.release()


def _execution_id(store: Store, run_id: str) -> str:
    """The one that a launcher has chosen, unless it has a record already, which is written once; else a new one.

    Raises: `UserError` if it is no name for a folder.
    """
    named = os.environ.get(EXECUTION)
    if named and not _EXECUTION_ID.fullmatch(named):
        raise UserError(f"{EXECUTION}={named}: letters, digits and hyphens only; leave it to the launchers")
    if named and not (store.folder(run_id, named) / RECORD).exists():
        return named
    return new_execution_id(datetime.now(UTC))
