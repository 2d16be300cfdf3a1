"""One run, one process: how it is started, how it is stopped, and what is known of it when it has ended.

Every launcher starts runs this way, wherever it starts them, so that all of them leave the same records.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

from bench.runs.lease import EXECUTION
from bench.runs.liveness import PARENT
from bench.sweeps.launchers.devices import bound_to

# Left by a launcher around us; a run that saw them would take itself for one process of many, or for a job of its own.
_NOT_INHERITED = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE",
    "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", EXECUTION, PARENT,
)  # fmt: skip
_NOT_INHERITED_PREFIXES = ("MASTER_", "TORCHELASTIC_", "SLURM_", "SUBMITIT_")
GRACE_SECONDS = 15.0  # between asking a run to end and ending it
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    started_at: UTC;  code: exit code, or minus the signal's number;  said: the door's last line of complaint;
    stopped: because we asked for it;  timed_out: the seconds after which we ended it.
    """

    started_at: datetime
    code: int
    said: str | None = None
    stopped: bool = False
    timed_out: float | None = None


def command(overrides: Sequence[str]) -> list[str]:
    """What a run is started with, in a process of its own."""
    return [sys.executable, "-m", "bench", *overrides]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what a launcher around us has left in it. more: further variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIXES)
    }
    return kept | dict(more or {})


class Process(Protocol):
    """A process that carries out one run."""

    def poll(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; None while it runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started; without effect once it has ended."""


# (overrides, further environment variables, standard output or None for ours, standard error) -> the process
Starter = Callable[[Sequence[str], Mapping[str, str], int | None, int], Process]


class BareProcess:
    """A process of the operating system like any other."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen

    def poll(self) -> int | None:
        """See `Process`."""
        return self.popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """See `Process`."""
        if self.popen.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)


def start_bare(
    overrides: Sequence[str],
    more: Mapping[str, str],
    stdout: int | None,
    stderr: int,
    *,
    cores: Sequence[int] = (),
    keep: Sequence[int] = (),
) -> BareProcess:
    """Start `python -m bench` in a session of its own. cores: to be bound to;  keep: open files that it inherits."""
    with bound_to(cores):
        popen = subprocess.Popen(
            command(overrides), env=environment({PARENT: str(os.getpid()), **more}), stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, start_new_session=True, pass_fds=keep,
        )  # fmt: skip
    return BareProcess(popen)


@dataclass
class Child:
    """A run in a process of its own, in a group of its own: Ctrl-C reaches it through us, once, with what it started.

    log: receives what it prints; None where it shares our terminal.
    """

    process: Process
    log: Path | None
    timeout: float | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _offset: int = 0  # where its part of the log begins
    _began: float = field(default_factory=time.monotonic)
    _said: list[str] = field(default_factory=list)
    _listener: threading.Thread | None = None
    _asked: float | None = None
    _late: bool = False

    @classmethod
    def start(
        cls,
        overrides: Sequence[str],
        log: Path | None = None,
        more: Mapping[str, str] | None = None,
        timeout: float | None = None,
        starter: Starter = start_bare,
    ) -> Child:
        """Start a run. more: further environment variables;  timeout: seconds after which it is ended."""
        if log is None:
            return cls._on_our_terminal(overrides, more or {}, timeout, starter)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            offset = os.fstat(stream.fileno()).st_size
            process = starter(overrides, more or {}, stream.fileno(), stream.fileno())
        return cls(process, log, timeout, _offset=offset)

    @classmethod
    def _on_our_terminal(
        cls, overrides: Sequence[str], more: Mapping[str, str], timeout: float | None, starter: Starter
    ) -> Child:
        reading, writing = os.pipe()
        stream = os.fdopen(reading, encoding="utf-8", errors="replace")
        try:
            child = cls(starter(overrides, more, None, writing), None, timeout)
        finally:
            os.close(writing)  # so that reading ends when the process does
        child._listener = threading.Thread(target=child._pass_on, args=(stream,), daemon=True)
        child._listener.start()
        return child

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs. Ends it where its time is over."""
        if (code := self.process.poll()) is not None:
            return self._outcome(code)
        now = time.monotonic()
        if self.timeout is not None and not self._late and now - self._began > self.timeout:
            self._late = True
            self._asked = now
            self.process.signal(signal.SIGALRM)
        if self._asked is not None and now - self._asked > GRACE_SECONDS:
            self.process.signal(signal.SIGKILL)
        return None

    def stop(self) -> None:
        """Ask it to end, which leaves a record; `poll` ends it where it does not listen."""
        if self._asked is None:
            self._asked = time.monotonic()
            self.process.signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started."""
        self.process.signal(number)

    def wait(self) -> Outcome:
        """Wait for its end."""
        while (outcome := self.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return outcome

    def _outcome(self, code: int) -> Outcome:
        if self._listener is not None:
            self._listener.join(timeout=5)
        timed_out = self.timeout if self._late else None
        stopped = self._asked is not None and not self._late
        return Outcome(self.started_at, code, last_complaint(self._lines()), stopped, timed_out)

    def _lines(self) -> list[str]:
        if self.log is None:
            return self._said
        return self.log.read_bytes()[self._offset :].decode("utf-8", errors="replace").splitlines()

    def _pass_on(self, stream: TextIO) -> None:
        """Show what a process writes to its standard error, and remember the end of it."""
        with stream:
            for line in stream:
                sys.stderr.write(line)
                sys.stderr.flush()
                self._said.append(line.rstrip("\n"))
                del self._said[:-20]


def last_complaint(lines: Sequence[str]) -> str | None:
    """The door's last line of complaint among what a process printed."""
    said = [line.removeprefix("bench: ") for line in lines if line.startswith("bench: ")]
    return said[-1] if said else None
