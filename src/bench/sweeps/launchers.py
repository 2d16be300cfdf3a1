"""Launchers: where the runs of a sweep take place. Each run is its own process, so that none can harm another.

`pool` runs them on this machine, `hydra.launcher.workers` at a time (1).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction

from bench.errors import UserError
from bench.runs.processor import usable_cores
from bench.sweeps.plan import Member

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Left by a launcher around us; a run that saw them would take itself for one process of many.
_DISTRIBUTED = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE",
    "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE",
)  # fmt: skip
_DISTRIBUTED_PREFIXES = ("MASTER_", "TORCHELASTIC_")
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Ending:
    """How a member's process ended.

    started_at: of the process;  code: exit code, or minus the signal's number;  said: the door's last line;
    stopped: because we asked for it.
    """

    member: Member
    started_at: datetime
    code: int
    said: str | None = None
    stopped: bool = False


@dataclass
class _Child:
    """A running member. output: its log, where it does not share our terminal."""

    member: Member
    process: subprocess.Popen[str]
    log: Path | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    said: list[str] = field(default_factory=list)
    listener: threading.Thread | None = None

    def ending(self, stopped: bool = False) -> Ending:
        if self.listener is not None:
            self.listener.join(timeout=5)
        lines = self.said if self.log is None else self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.removeprefix("bench: ") for line in lines if line.startswith("bench: ")]
        return Ending(self.member, self.started_at, self.process.returncode, said[-1] if said else None, stopped)


class PoolLauncher(Launcher):
    """Processes on this machine."""

    __module__ = "hydra_plugins.bench"  # Hydra instantiates plug-ins of this name space only

    def __init__(self, workers: int = 1) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise UserError(f"hydra.launcher.workers={workers}: should be a whole number, 1 or more")
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook; each process composes for itself.

        Raises: `UserError` beside another sweeper, which knows no runs.
        """
        if config.hydra.sweeper._target_ != "hydra_plugins.bench.BenchSweeper":
            raise UserError("hydra/launcher=pool works with hydra/sweeper=bench only: add hydra/launcher=basic")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's interface for jobs; ours are runs, see `run`."""
        raise NotImplementedError

    def run(self, members: Sequence[Member], logs: Path, ended: Callable[[Ending], None]) -> None:
        """Run all members, `workers` at a time, and report each ending as it happens.

        logs: receives what the processes print if there are several at a time; one alone shares our terminal.
        Raises: `KeyboardInterrupt` on Ctrl-C or SIGTERM, after all processes have ended.
        """
        waiting, running = list(enumerate(members, start=1)), list[_Child]()
        with _termination_interrupts():
            try:
                while waiting or running:
                    while waiting and len(running) < self.workers:
                        number, member = waiting.pop(0)
                        running.append(self._start(member, f"[{number}/{len(members)}]", logs))
                    done = [child for child in running if child.process.poll() is not None]
                    for child in done:
                        running.remove(child)
                        ended(child.ending())
                    if not done:
                        time.sleep(_POLL_SECONDS)
            except KeyboardInterrupt:
                _stop(running)
                for child in running:
                    ended(child.ending(stopped=True))
                raise

    def _start(self, member: Member, position: str, logs: Path) -> _Child:
        command = [sys.executable, "-m", "bench", *member.overrides]
        if self.workers == 1:
            print(f"{position} {member.choice.label}", flush=True)
            process = _popen(command, stdout=None, stderr=subprocess.PIPE)
            child = _Child(member, process, log=None)
            child.listener = threading.Thread(target=_pass_on, args=(process.stderr, child.said), daemon=True)
            child.listener.start()
            return child
        if member.config.hardware.threads is None:
            command.append(f"hardware.threads={max(1, usable_cores() // self.workers)}")
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{member.run_id}.log"
        with log.open("w", encoding="utf-8") as stream:
            return _Child(member, _popen(command, stdout=stream, stderr=subprocess.STDOUT), log)


def _popen(command: Sequence[str], stdout: IO[str] | None, stderr: int) -> subprocess.Popen[str]:
    """A process in a group of its own: Ctrl-C reaches it through us, once, together with what it started."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _DISTRIBUTED and not name.startswith(_DISTRIBUTED_PREFIXES)
    }
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip


def _pass_on(stream: IO[str], said: list[str]) -> None:
    """Show what a process writes to its standard error, and remember the end of it."""
    for line in stream:
        sys.stderr.write(line)
        sys.stderr.flush()
        said.append(line.rstrip("\n"))
        del said[:-20]


def _stop(children: Sequence[_Child]) -> None:
    """Ask for an end, which leaves records; whoever is impatient and asks again gets it at once."""
    try:
        for child in children:
            _signal(child, signal.SIGINT)
        for child in children:
            child.process.wait()
    except KeyboardInterrupt:
        for child in children:
            _signal(child, signal.SIGKILL)
            child.process.wait()


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM ends a sweep as Ctrl-C does, so that no run is left behind without its parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
