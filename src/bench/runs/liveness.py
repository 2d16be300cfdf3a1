"""Whether a process is still there: on this machine by asking the system, elsewhere by how fresh its file is."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import socket
import sys
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from bench.distributed import is_first_process

PARENT = "BENCH_PARENT"  # environment variable: the number of the process that started a run and watches it
_PR_SET_PDEATHSIG = 1


@cache
def this_machine() -> str:
    """Equal for processes that can see one another: this boot of this machine, and within it this container."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append(f"{uuid.getnode():x}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def process_started(process: int) -> str | None:
    """When a process of this machine began, in whatever unit; None where there is none, or it has ended."""
    if not Path("/proc/self/stat").exists():
        try:
            found = psutil.Process(process)
            return None if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.1f}"
        except psutil.Error:
            return None
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state = text.rpartition(")")[2].split()
    return None if state[0] in "ZX" else state[19]


def is_running(process: int, started: str) -> bool | None:
    """Whether the process of this machine that began then is still there; None where the system hides it from us."""
    if process_started(process) == started:
        return True
    if os.name == "posix" and not Path(f"/proc/{process}").exists():
        try:
            os.kill(process, 0)  # asks, and sends nothing
        except PermissionError:  # somebody else's, and /proc is mounted so that it does not show those
            return None
        except (OSError, OverflowError):
            return False
    return False


def seconds_since_renewal(path: Path) -> float:
    """The age of a file by the file system's own clock: machines may disagree about the time.

    Raises: `OSError` if the file has gone.
    """
    renewed = path.stat().st_mtime
    try:
        with TemporaryFile(dir=path.parent, prefix=".clock.") as file:
            return os.fstat(file.fileno()).st_mtime - renewed
    except OSError:  # a folder that we may only read
        return time.time() - renewed


def end_with_parent() -> None:
    """From now on, SIGTERM comes when the process that started this one ends, so that no run is left behind (Linux).

    Raises: `KeyboardInterrupt` if that process has gone already.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    named = os.environ.get(PARENT, "")
    if os.getppid() != int(named) if named.isdigit() and is_first_process() else _is_orphan():
        raise KeyboardInterrupt


def _is_orphan() -> bool:
    """Whether the first process of the machine took this one over; in a container, that may be the sweep itself."""
    if os.getppid() != 1:
        return False
    try:
        return b"bench" not in Path("/proc/1/cmdline").read_bytes()
    except OSError:
        return True
