"""How many workers `pytest -n auto` starts (conftest.py): as many as the machine has cores and memory for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

WORKER_BYTES = 3 * 2**30  # what a worker and the processes that its tests start may need
MOST_WORKERS = 8  # each fills caches of its own, and in the end all wait for the longest file


def workers_for(cores: int, memory: int) -> int:
    """memory: free, in bytes."""
    return max(1, min(cores, memory // WORKER_BYTES, MOST_WORKERS))


def free_memory(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free, or a container's limit where that is less."""
    limits = [psutil.virtual_memory().available]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such file, or `max`
            limits.append(int((control_groups / file).read_text(encoding="ascii")))
    return min(limits)
