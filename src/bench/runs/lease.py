"""Who is carrying out a run right now: a lease beside its executions, so that sweeps share work, not repeat it.

    RESULTS/runs/<run_id>/lease-<execution_id>.json    the holder, and how far it has come

Works over a shared file system without its locks. On one machine a lease ends with its process, at once; from another
machine it is seen to have expired when it has not been renewed for a while, by the file system's own clock. A run may
still, rarely, be carried out twice (a machine that was cut off comes back): both executions are then complete, and both
count.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench.errors import BusyError, UserError
from bench.files import write_atomically
from bench.runs.liveness import is_running, process_started, seconds_since_renewal, this_machine

EXECUTION = "BENCH_EXECUTION"  # environment variable: the execution that a launcher holds a lease for
BUSY = "is being carried out already"
EXPIRES_SECONDS = 90.0  # more than a renewal and what a network file system may remember of a file's age (60 s)
_RENEW_SECONDS = 10.0
_BEAT_SECONDS = 2.0
_TRIES = 30


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come. epoch: counted from 1;  steps: planned;  accuracy: of the last validation."""

    epoch: int
    epochs: int
    step: int
    steps: int
    seconds_left: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a run.

    machine: a hash;  process_started: tells processes of one number apart;  since: ISO 8601, UTC.
    """

    execution_id: str
    machine: str
    process: int
    process_started: str
    since: str
    progress: Progress | None = None

    @classmethod
    def this_process(cls, execution_id: str) -> Self:
        """We, from now on."""
        return cls(
            execution_id=execution_id,
            machine=this_machine(),
            process=os.getpid(),
            process_started=process_started(os.getpid()) or "",
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"process {self.process}" if self.machine == this_machine() else "another machine"


def holder_of(folder: Path) -> Holder | None:
    """Who holds the run of this folder; None where nobody does, or the one who did has died."""
    living = [holder for _, holder in _leases(folder, alive=True)]
    return max(living, key=lambda holder: holder.since, default=None)


class Lease:
    """The right to carry out a run, held until `release` or the end of the process."""

    def __init__(self, path: Path, holder: Holder) -> None:
        """Made by `acquire`."""
        self.path = path
        self.holder = holder
        self._progress: Progress | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def execution_id(self) -> str:
        """The execution that it is held for."""
        return self.holder.execution_id

    @classmethod
    def acquire(cls, folder: Path, execution_id: str) -> Lease:
        """Hold the run of this folder, or adopt the lease that a launcher holds for this very execution.

        Everyone first puts down a lease of their own and then looks round: whoever came later sees the one before.
        Those who see another one take theirs back; where two do so at once, both try again, at different moments.
        Raises: `BusyError` if another living process holds it.
        """
        path, mine = folder / f"lease-{execution_id}.json", Holder.this_process(execution_id)
        for attempt in range(_TRIES):
            others = {other: holder for other, holder in _leases(folder, alive=True) if other != path}
            adopts = _is_alive(path, _read(path))
            if others and not adopts:
                raise BusyError(_busy(folder.name, next(iter(others.values()))))
            _put(path, mine)
            others = {other: holder for other, holder in _leases(folder, alive=True) if other != path}
            if adopts or not others:
                return cls(path, mine)
            path.unlink(missing_ok=True)
            time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))
        raise BusyError(_busy(folder.name, next(iter(others.values()))))

    def report(self, progress: Progress) -> None:
        """Say how far the run has come; others see it within seconds. Costs nothing: a thread writes it down."""
        self._progress = progress

    def release(self) -> None:
        """Let go, and take away what the dead have left; without effect on a lease that another process has adopted."""
        self._over.set()
        self._thread.join()
        if not self._is_ours():
            return
        with suppress(OSError):
            for path, _ in _leases(self.path.parent, alive=False):
                path.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)  # last: as long as it is there, nobody else has one
            self.path.parent.rmdir()  # where the run left nothing

    def _is_ours(self) -> bool:
        current = _read(self.path)
        return current is not None and replace(current, progress=None) == self.holder

    def _renew(self) -> None:
        shown, since_renewal = None, 0.0
        while not self._over.wait(_BEAT_SECONDS) and self._is_ours():
            since_renewal += _BEAT_SECONDS
            progress = self._progress
            with suppress(OSError, UserError):  # a full disk or a lost folder stops no run
                if progress != shown:
                    _put(self.path, replace(self.holder, progress=progress))
                    shown, since_renewal = progress, 0.0
                elif since_renewal >= _RENEW_SECONDS:
                    os.utime(self.path)
                    since_renewal = 0.0


def _leases(folder: Path, alive: bool) -> Iterator[tuple[Path, Holder]]:
    """The leases in a folder whose holders are alive, or those whose holders are dead."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in (folder / name for name in names if name.startswith("lease-") and name.endswith(".json")):
        holder = _read(path)
        if holder is not None and _is_alive(path, holder) is alive:
            yield path, holder


def _is_alive(path: Path, holder: Holder | None) -> bool:
    if holder is None:
        return False
    if holder.machine == this_machine():
        running = is_running(holder.process, holder.process_started)
        if running is not None:
            return running
    try:
        return seconds_since_renewal(path) < EXPIRES_SECONDS
    except OSError:
        return False


def _put(path: Path, holder: Holder) -> None:
    """Let a lease appear with its content, in place of the one before.

    Raises: `UserError` if the folder cannot be written to.
    """
    text = json.dumps(asdict(holder), indent=1) + "\n"
    for last in (False, False, True):
        try:
            write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
            return
        except (UserError, FileNotFoundError):
            if last or path.parent.exists():  # else somebody let go of the run in between, and took its folder along
                raise


def _read(path: Path) -> Holder | None:
    """What a lease says; None where there is none, or nothing that can be read."""
    for last in (False, True):
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            progress = tree.get("progress")
            known = {item.name: tree[item.name] for item in fields(Holder) if item.name != "progress"}
            shown = {item.name: progress.get(item.name) for item in fields(Progress)} if progress else None
            return Holder(**known, progress=Progress(**shown) if shown else None)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            if last:  # over a network, a file may be replaced while it is read
                return None
    return None


def _busy(run_id: str, holder: Holder) -> str:
    return (
        f"run {run_id} {BUSY}, since {holder.since[:16]} UTC, by {holder.place}: wait for it, "
        "or see how far it is: python -m bench status"
    )
