"""How much memory one run needed at its peak: of the host, and of the GPU.

On Linux the kernel's high-water mark of this process is used, and set back when a run begins, so that an earlier run of
the same process does not count. What `getrusage` calls the peak would: a new process takes over its parent's.
"""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.distributed import gather
from bench.processor import return_freed_memory

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5): sets the high-water mark to what is resident now


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Bytes; fields as in `RunRecord`, None where no GPU is used."""

    peak_host_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    peak_gpu_memory_reserved_bytes: int | None = None

    @property
    def peak_memory_bytes(self) -> int | None:
        """Of the GPU where one is used, else of this process."""
        return self.peak_host_memory_bytes if self.peak_gpu_memory_bytes is None else self.peak_gpu_memory_bytes

    def over_processes(self) -> PeakMemory:
        """The largest of each over all processes of a distributed run; all of them must ask."""
        everyone = gather(self)
        return PeakMemory(**{name: _largest([getattr(one, name) for one in everyone]) for name in vars(self)})


def forget_peak() -> None:
    """A run begins: what this process needed before no longer counts. Where the system does not allow it, it does.

    What an earlier run freed and the process has kept (`keep_freed_memory`) goes back to the system first.
    """
    return_freed_memory()
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> PeakMemory:
    """The peak since `forget_peak`, of this process alone. device: where the model trained."""
    if device.type != "cuda":
        return PeakMemory(peak_host_memory_bytes=_host_peak())
    return PeakMemory(
        peak_host_memory_bytes=_host_peak(),
        peak_gpu_memory_bytes=int(torch.cuda.max_memory_allocated(device)),
        peak_gpu_memory_reserved_bytes=int(torch.cuda.max_memory_reserved(device)),
    )


def _host_peak() -> int:
    """Bytes resident at most."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE):
            return int(found.group(1)) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _largest(values: list[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
