"""`doctor`: the processor, the devices, and which kernel executes each cell on them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import psutil

from bench.config import Cell, ModelConfig
from bench.runs.environment import describe_machine, describe_torch
from bench.verbs.doctor_findings import Finding, State
from bench.verbs.sizes import readable

if TYPE_CHECKING:
    import torch

_GROUP = "machine"
_SIZE = 8  # of the tiny network whose operators are looked at
_FUSED = {
    "mkldnn_rnn_layer": "one fused kernel (oneDNN)",
    "cudnn_rnn": "one fused kernel (cuDNN)",
    "miopen_rnn": "one fused kernel (MIOpen)",
    "lstm_mps": "one fused kernel (Metal)",
    "thnn_fused_lstm_cell": "step by step, each step one fused kernel",
    "thnn_fused_gru_cell": "step by step, each step one fused kernel",
}
_VIEWS = {
    "accumulate_grad",
    "stack",
    "transpose",
    "t",
    "unbind",
    "unsafe_view",
    "unsafe_split",
    "cat",
    "select",
    "view",
}


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
    """What torch sees, and the kernel of each cell on each device; imports torch."""
    try:
        import torch  # noqa: F401
    except Exception as error:
        reason = " ".join(str(error).split())
        advice = "type: pip install --force-reinstall torch"
        return [Finding(group=_GROUP, name="torch", value=reason, state="impossible", advice=advice)]
    return [*_processor(), *_accelerators(), *_kernels()]


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


def _kernels() -> Iterator[Finding]:
    import torch

    places = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    places += ["mps"] if torch.backends.mps.is_available() else []
    for place in places:
        for cell in get_args(Cell):
            yield _kernel(cell, torch.device(place))


def _kernel(cell: Cell, device: torch.device) -> Finding:
    name = f"{cell} on {device.type}"
    try:
        operators = _operators(cell, device)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        state: State = "impossible" if device.type == "cpu" else "remark"
        return Finding(group="kernels", name=name, value=reason, state=state)
    fused = [text for operator, text in _FUSED.items() if operator in operators]
    shown = ", ".join(sorted(operators & set(_FUSED) if fused else operators - _VIEWS))
    return Finding(group="kernels", name=name, value=f"{fused[0] if fused else 'step by step'}: {shown}")


def _operators(cell: Cell, device: torch.device) -> set[str]:
    """The operators of one forward pass, read from the graph that autograd keeps of it: `MkldnnRnnLayerBackward0`.

    Listening to the dispatcher, as runs do, would take two seconds of imports.
    """
    import torch

    from bench.models.encoder import RecurrentEncoder

    encoder = RecurrentEncoder(ModelConfig(cell=cell, hidden_size=_SIZE), _SIZE, _SIZE).to(device)
    states = encoder(torch.zeros((2, 3, _SIZE), device=device), torch.full((2,), 3, device=device))
    waiting, seen = [states.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [earlier for earlier, _ in node.next_functions]
    names = {re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2]) for node in seen}
    return {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in names}
