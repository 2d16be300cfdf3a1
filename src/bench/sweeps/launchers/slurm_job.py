"""What one Slurm job does: a run in a process of its own, which is asked to end before Slurm ends it.

Slurm warns a job that is to be pre-empted, or is near its time limit: with submitit's signal, USR2, or with SIGTERM, or
with both, as the cluster is set up. The run then ends with a record and a checkpoint, and the job is requeued, by
submitit or by Slurm, and goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, ClassVar

from bench.sweeps.launchers.processes import BareProcess, Child

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

_GRACE_SECONDS = 60.0  # for a run that was asked to end; less than what submitit asks Slurm for
_SIGTERM_SECONDS = 2.0  # for SIGTERM to follow USR2
_PATIENCE_SECONDS = 900.0  # for Slurm to requeue or to kill, after SIGTERM
_POLL_SECONDS = 0.05
_ASKED = (130, -signal.SIGTERM)  # how a run ends that was asked to


@dataclass(frozen=True)
class SlurmRun:
    """A run as submitit pickles it. log: receives what the run prints;  timeout: seconds after which it is ended;
    requeues: how often it may still be requeued."""

    overrides: tuple[str, ...]
    log: Path
    timeout: float | None
    requeues: int

    _child: ClassVar[Child | None] = None  # of the one run that this process carries out

    def __call__(self) -> dict[str, object]:
        """Carry it out; returns the fields of an `Outcome`."""
        with held_back(signal.SIGUSR2):  # Slurm signals the whole job: the run inherits that it does not hear this one
            child = SlurmRun._child = Child.start(self.overrides, self.log, timeout=self.timeout)
        with held_back(signal.SIGTERM):  # the run hears it; here it is a question of whether it has come
            try:
                outcome = child.wait()
                if _was_terminated() and outcome.code in _ASKED:  # a result would end the job, and nothing requeue it
                    _wait(lambda: False, _PATIENCE_SECONDS)
            except CalledProcessError:  # submitit could not requeue what Slurm, without any grace, has requeued itself
                sys.exit(1)
        return asdict(outcome)

    def checkpoint(self) -> DelayedSubmission | None:
        """The hook of submitit, called in its handler of USR2: end the run.

        Returns: what is requeued; None for nothing.
        """
        from submitit.helpers import DelayedSubmission

        if SlurmRun._child is not None:
            _end(SlurmRun._child)
        return DelayedSubmission(replace(self, requeues=self.requeues - 1)) if self.requeues > 0 else None


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Signals come afterwards; a process that is started meanwhile never hears them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _was_terminated() -> bool:
    """Whether Slurm has sent SIGTERM, to the run as well."""
    return signal.SIGTERM in signal.sigpending()


def _end(child: Child) -> None:
    """Let a run write its record; without effect on one that has ended."""
    process = child.process
    assert isinstance(process, BareProcess)
    if not _wait(lambda: _was_terminated() or _has_ended(process), _SIGTERM_SECONDS):
        process.signal(signal.SIGTERM)  # once only: a second one would cut its record short
    _wait(lambda: _has_ended(process), _GRACE_SECONDS)
    process.signal(signal.SIGKILL)


def _has_ended(process: BareProcess) -> bool:
    """Without `Popen.poll`, in the midst of which a signal's handler may be called."""
    try:
        return os.waitid(os.P_PID, process.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _wait(ready: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is the case, for so long; whether it is."""
    deadline = time.monotonic() + seconds
    while not (is_ready := ready()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return is_ready
