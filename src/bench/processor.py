"""The processor: its name, how many of its cores this process may use, and which GPUs stand beside it; no torch."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, that of Windows seen from Linux

# glibc's malloc.h: M_MMAP_MAX (no block is mapped by itself), M_TRIM_THRESHOLD and M_TOP_PAD (bytes)
_KEEP_MEMORY = {-4: 0, -1: 512 * 2**20, -2: 64 * 2**20}


def cpu_model() -> str:
    """The processor's name as its maker gives it, else the name of its architecture."""
    name = ""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", lines, re.MULTILINE)
        name = found.group(1) if found else ""
    elif sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return " ".join(name.split()) or platform.processor() or platform.machine()


def usable_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: its affinity, and below that a container's limit."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(limit) for limit in cpu_limits(control_groups))]))


def cpu_limits(root: Path) -> Iterator[float]:
    """Processor limits in cores set by control groups (v2 `cpu.max`, v1 `cpu.cfs_quota_us`), this one's and above."""
    for folder, files in ((root, ("cpu.max",)), (root / "cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))):
        for group in _own_groups(folder):
            try:
                quota, period = " ".join((group / file).read_text(encoding="ascii") for file in files).split()
            except (OSError, ValueError):
                continue
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)


def _own_groups(root: Path) -> Iterator[Path]:
    """The root, this process's control group below it where it has one, and the groups between them."""
    yield root
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if (root.name in controllers.split(",")) if controllers else (root.name == "cgroup"):
            group = root / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root) and folder != root)


def limit_spinning() -> None:
    """Let OpenMP's threads spin for microseconds, then sleep; has to be called before torch is first imported.

    A recurrence is thousands of short parallel regions. Where anything else runs on the same cores, a thread that spins
    for as long as libgomp's default lets it waits for one that is not scheduled: steps were seen to take 90 times as
    long, against nothing lost on a quiet machine (docs/recipes.md). Whoever has set a policy is obeyed.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def keep_freed_memory() -> bool:
    """Tell glibc to keep the memory of freed tensors for the next ones; whether it could be told.

    By default it maps each large tensor anew and returns it when it is freed, so every training step pays for fresh
    pages (docs/kernels.md). Whoever has set a `MALLOC_` variable is obeyed, and so is an allocator that was preloaded.
    """
    if sys.platform != "linux" or "LD_PRELOAD" in os.environ or any(key.startswith("MALLOC_") for key in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in _KEEP_MEMORY.items())


def return_freed_memory() -> None:
    """Give what glibc has kept of freed memory back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def torch_uses_gpus() -> bool:
    """Whether the torch that is installed could use a GPU, as far as its version tells."""
    return not metadata.version("torch").endswith("+cpu")


def gpu_drivers_present() -> bool:
    """Whether a run with hardware=auto may find a GPU here, listed or not."""
    return torch_uses_gpus() and (sys.platform != "linux" or any(Path(path).exists() for path in _GPU_DRIVERS))


def gpu_models() -> set[str]:
    """The NVIDIA GPUs of this machine, as torch names them too."""
    found = set()
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found |= {line.partition(":")[2].strip() for line in lines if line.startswith("Model:")}
    return found
