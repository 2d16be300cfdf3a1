"""`doctor`: how each cell is executed on each device, by PyTorch and by the project's own kernel; which is faster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from bench.config import HardwareConfig, Kernel, ModelConfig
from bench.errors import UserError
from bench.runs.contention import MOST_OTHER_UNSEEN
from bench.runs.kernel_table import TIMED, KernelTable, fresh_table, place_of, store_table, stored_table, why_stale
from bench.verbs.doctor_findings import Finding, Measure, State, Watch

if TYPE_CHECKING:
    import torch

_GROUP = "kernels"
_AGAIN = "type: python -m bench doctor measure=true"
_SIZE = 8  # of the tiny network whose operators are looked at
_KINDS = {
    "mkldnn_rnn_layer": "one fused kernel (oneDNN)",
    "cudnn_rnn": "one fused kernel (cuDNN)",
    "miopen_rnn": "one fused kernel (MIOpen)",
    "lstm_mps": "one fused kernel (Metal)",
    "thnn_fused_lstm_cell": "step by step, each step one fused kernel",
    "thnn_fused_gru_cell": "step by step, each step one fused kernel",
    "native_forward": "all steps in native code",
    "loop_forward": "all steps in one loop of ours",
}
_VIEWS = {
    "accumulate_grad", "stack", "transpose", "t", "unbind", "unsafe_view", "unsafe_split", "cat", "select", "view",
}  # fmt: skip


def kernels(measure: Measure = "never", threads: int | None = None, watch: Watch | None = None) -> list[Finding]:
    """How the project's own kernel is available, and of each cell on each device the operators and the times.

    threads: as runs will have, None for all cores;  watch: told before each timing. Imports torch.
    """
    return [_native(), *_on_devices(measure, threads, watch)]


def _native() -> Finding:
    """Whether the project's own kernel was compiled, by what, or why not."""
    from bench.models.kernels import compiler, native

    reason = native.why_not()
    if reason is None:
        return Finding(group=_GROUP, name="native code", value=f"compiled by {compiler.found()}")
    advice = "model.kernel=step is a loop in PyTorch then, and slower; add g++ or clang++, or set CXX=COMPILER"
    if reason.startswith("BENCH_KERNEL"):
        advice = "type: unset BENCH_KERNEL"
    return Finding(group=_GROUP, name="native code", value=reason, state="remark", advice=advice)


def _on_devices(measure: Measure, threads: int | None, watch: Watch | None) -> Iterator[Finding]:
    import torch

    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    for accelerator in ("cpu", "gpu") if accelerated else ("cpu",):
        hardware = HardwareConfig(accelerator=accelerator, threads=threads)
        place = place_of(hardware)
        try:
            table = _table(hardware, measure, watch)
        except (RuntimeError, OSError, UserError) as error:  # a device that does not compute, a full disk
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            yield Finding(group=_GROUP, name=f"timing on {place.device}", value=reason, state="remark", advice=_AGAIN)
            table = None
        for cell in TIMED:
            yield _executions(cell, torch.device(place.device), table)
        yield from _times(hardware, table)


def _table(hardware: HardwareConfig, measure: Measure, watch: Watch | None) -> KernelTable | None:
    """The fresh table, measured first where that is asked for."""
    table = fresh_table(hardware)
    if measure == "always" or (measure == "missing" and table is None):
        from bench.runs.kernel_timing import measure_table

        table = measure_table(hardware, watch=watch)
        store_table(table)
    return table


def _executions(cell: str, device: torch.device, table: KernelTable | None) -> Finding:
    """The operators of both executions: as they were timed, else as autograd's graph names them."""
    name = f"{cell} on {device.type}"
    try:
        if table is not None and cell in table.operators:
            operators = {kernel: set(table.operators[cell][kernel]) for kernel in get_args(Kernel)}
        else:
            operators = {kernel: _operators(cell, kernel, device) for kernel in get_args(Kernel)}
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        state: State = "impossible" if device.type == "cpu" else "remark"
        return Finding(group=_GROUP, name=name, value=reason, state=state)
    value = "; ".join(f"{kernel} is {_described(names)}" for kernel, names in operators.items())
    return Finding(group=_GROUP, name=name, value=value)


def _described(operators: set[str]) -> str:
    """What kind of execution these operators are, and those that tell."""
    telling = {name: kind for name in sorted(operators) if (kind := _KINDS.get(name.rpartition("::")[2].lstrip("_")))}
    kind = next(iter(telling.values()), "step by step")
    return f"{kind}: {', '.join(telling or sorted(operators - _VIEWS))}"


def _times(hardware: HardwareConfig, table: KernelTable | None) -> Iterator[Finding]:
    """What was timed of each cell, and what `model.kernel=auto` takes."""
    device = place_of(hardware).device
    if table is None:
        stale = stored_table(place_of(hardware))
        reason = "not timed" if stale is None else f"timed before: {why_stale(stale)}"
        advice = "model.kernel=auto is torch until kernels are timed; type: python -m bench doctor"
        yield Finding(group=_GROUP, name=f"auto on {device}", value=reason, state="remark", advice=advice)
        return
    for cell in (cell for cell in TIMED if cell in table.operators):
        yield Finding(group=_GROUP, name=f"auto: {cell} on {device}", value=_timed(cell, table))
    busy = table.cpu_other_fraction or 0.0
    if busy > MOST_OTHER_UNSEEN:
        value = f"other processes took {busy:.0%} of the processor while kernels were timed"
        yield Finding(group=_GROUP, name=f"timing on {device}", value=value, state="remark", advice=_AGAIN)


def _timed(cell: str, table: KernelTable) -> str:
    rows = [row for row in table.rows if row.cell == cell]
    times = ", ".join(f"{row.hidden_size}: {_ms(row.torch_milliseconds)}/{_ms(row.step_milliseconds)}" for row in rows)
    taken = {
        kernel: [row.hidden_size for row in rows if table.fastest(cell, row.hidden_size) == kernel]
        for kernel in get_args(Kernel)
    }
    choice = " and ".join(f"{kernel} at {_listed(sizes)}" for kernel, sizes in taken.items() if sizes)
    return f"takes {choice}; milliseconds by torch/step at hidden size {times}, {table.place.threads} threads"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g}"


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _operators(cell: str, kernel: Kernel, device: torch.device) -> set[str]:
    """The operators of one forward pass, read from the graph that autograd keeps of it: `MkldnnRnnLayerBackward0`.

    Listening to the dispatcher, as runs do, would take two seconds of imports.
    """
    import torch

    from bench.models.encoder import RecurrentEncoder
    from bench.models.kernels import native

    if kernel == "step":
        native_here = device.type == "cpu" and native.available()
        return {f"bench::{'native' if native_here else 'loop'}_{way}" for way in ("forward", "backward")}
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
