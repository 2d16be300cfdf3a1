"""The peak memory of a run is its own: not an earlier run's, not its parent's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from bench.processor import keep_freed_memory
from bench.runs.memory import PeakMemory, forget_peak, peak_memory

LINUX = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="this system does not let a process forget its peak"
)
MUCH = 300 * 2**20
CPU = torch.device("cpu")
CHILD = """
import resource, torch
from bench.runs.memory import peak_memory
print(peak_memory(torch.device("cpu")).peak_host_memory_bytes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def host_peak() -> int:
    peak = peak_memory(CPU).peak_host_memory_bytes
    assert peak is not None
    return peak


@LINUX
def test_what_an_earlier_run_of_the_same_process_needed_does_not_count() -> None:
    keep_freed_memory()  # as an earlier run leaves it
    forget_peak()
    before = host_peak()
    memory = bytearray(MUCH)
    assert host_peak() > before + 0.9 * MUCH
    del memory
    assert host_peak() > before + 0.9 * MUCH, "a peak stays"
    forget_peak()
    assert host_peak() < before + 0.5 * MUCH


@LINUX
def test_what_the_parent_of_a_run_holds_does_not_count() -> None:
    memory = bytearray(3 * MUCH)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    own, said = map(int, done.stdout.split())
    assert len(memory) < said, "getrusage takes the parent's over"
    assert own < len(memory)


def test_on_a_cpu_the_peak_is_the_hosts() -> None:
    memory = peak_memory(CPU)
    assert memory.peak_memory_bytes == memory.peak_host_memory_bytes
    assert memory.peak_gpu_memory_bytes is None
    assert memory.over_processes() == memory


def test_where_a_gpu_is_used_the_peak_is_the_gpus() -> None:
    memory = PeakMemory(peak_host_memory_bytes=5, peak_gpu_memory_bytes=3, peak_gpu_memory_reserved_bytes=4)
    assert memory.peak_memory_bytes == 3
