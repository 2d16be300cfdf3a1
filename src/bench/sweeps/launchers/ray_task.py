"""What runs on a node of a Ray cluster: one run in a process of its own, and how it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.errors import UserError
from bench.sweeps.launchers.processes import Child, Outcome

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class RayRun:
    """A run as it is sent to a node. folder: where the sweep was typed;  results: absolute, on a shared file system;
    log: receives what it prints;  variables: further environment variables;  timeout: seconds after which it is ended;
    code_version: of the sources that the sweep was planned with."""

    overrides: tuple[str, ...]
    folder: Path
    results: Path
    log: Path
    variables: dict[str, str]
    timeout: float | None
    code_version: str


def carry_out(run: RayRun) -> Outcome:
    """A task: `ray.cancel` asks the run to end, which leaves a record.

    Raises: `UserError` if this node cannot carry out runs of this sweep.
    """
    with _cancellation() as cancelled:
        _check_node(run)
        if run.folder.is_dir():
            os.chdir(run.folder)
        child = _start(run)
        try:
            while (outcome := child.poll()) is None:
                if cancelled.is_set():
                    child.stop()
                time.sleep(_POLL_SECONDS)
            return outcome
        except BaseException:  # the node is about to go
            child.signal(signal.SIGTERM)
            raise


def _check_node(run: RayRun) -> None:
    """What is written here has to be what the sweep looks for, and where it looks for it."""
    from bench.runs.environment import code_version

    problem = None
    if code_version() != run.code_version:
        problem = "has another version of recurrent-bench: install the same one on every node"
    elif not run.results.is_dir():
        problem = f"has no folder {run.results}: choose results=DIR on a file system that all nodes share"
    if problem is not None:
        import ray

        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        raise UserError(f"node {address} {problem}")


def _start(run: RayRun) -> Child:
    """Ray's processes do not hear SIGINT, and what they start would inherit that."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        return Child.start((*run.overrides, _override("results", run.results)), run.log, run.variables, run.timeout)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _override(key: str, path: Path) -> str:
    """As Hydra reads it, whatever characters the path contains."""
    quoted = str(path).replace("'", "\\'")
    return f"{key}='{quoted}'"


@contextmanager
def _cancellation() -> Iterator[threading.Event]:
    """Set when Ray cancels the task, instead of an exception at any moment, between two lines that belong together."""
    cancelled = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        cancelled.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield cancelled
    finally:
        signal.signal(signal.SIGINT, before)
