"""`doctor`: the processor and the devices."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from bench.runs.environment import describe_machine, describe_torch
from bench.verbs.doctor_findings import Finding
from bench.verbs.sizes import readable

_GROUP = "machine"


def machine() -> list[Finding]:
    """Processor and memory; imports no torch."""
    known, memory = describe_machine(), psutil.virtual_memory()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > known.cpu_cores
    return [
        Finding(group=_GROUP, name="system", value=known.operating_system),
        Finding(group=_GROUP, name="processor", value=f"{known.cpu_model}, {known.cpu_cores} cores"),
        Finding(
            group=_GROUP, name="load", value=f"{load:.1f} on {known.cpu_cores} cores", state="remark" if busy else "ok",
            advice="others are at work: what is timed now counts little" if busy else None,
        ),
        Finding(group=_GROUP, name="memory", value=f"{readable(memory.available)} free of {readable(memory.total)}"),
    ]  # fmt: skip


def devices() -> list[Finding]:
    """What torch sees; imports torch."""
    try:
        import torch  # noqa: F401
    except Exception as error:
        reason = " ".join(str(error).split())
        advice = "type: pip install --force-reinstall torch"
        return [Finding(group=_GROUP, name="torch", value=reason, state="impossible", advice=advice)]
    return [*_processor(), *_accelerators()]


def _processor() -> Iterator[Finding]:
    import torch

    threads, cores = torch.get_num_threads(), describe_machine().cpu_cores
    many = threads > cores
    value = f"{threads} of torch, instruction set {torch.backends.cpu.get_cpu_capability()}"
    advice = f"more than cores slow each other down; add hardware.threads={cores}" if many else None
    yield Finding(group=_GROUP, name="threads", value=value, state="remark" if many else "ok", advice=advice)


def _accelerators() -> Iterator[Finding]:
    import torch

    for number in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(number)
        driver = describe_torch("cuda", None).gpu_driver
        value = f"{known.name}, {readable(known.total_memory)}, driver {driver or 'unknown'}"
        yield Finding(group=_GROUP, name=f"gpu {number}", value=value)
    if torch.backends.mps.is_available():
        yield Finding(group=_GROUP, name="gpu", value="Apple Metal (MPS)")
    if not torch.cuda.device_count() and not torch.backends.mps.is_available():
        yield _no_gpu()


def _no_gpu() -> Finding:
    import torch

    if os.path.exists("/proc/driver/nvidia/version") and torch.version.cuda is None:
        advice = "an NVIDIA driver is there, this torch is built for CPUs; see pytorch.org for one with CUDA"
        return Finding(group=_GROUP, name="gpu", value="none that torch can use", state="remark", advice=advice)
    return Finding(group=_GROUP, name="gpu", value="none; runs use the processor")
