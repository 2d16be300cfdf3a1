"""The recurrence in native code (recurrence.cpp): float32 and float64 on the CPU, compiled at first use.

Registered with PyTorch as `bench::native_forward` and `bench::native_backward`, so that a profiler sees which
implementation ran. Where nothing can be compiled, `available()` is false and `why_not()` says why; the loop in PyTorch
(loop.py) computes the same.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bench.declarations import declared
from bench.models.kernels.compiler import CompilerError, library
from bench.models.kernels.native_library import CELLS, ONLY_STATES, RecurrenceLibrary, further_values
from bench.models.kernels.self_check import largest_error

_NUMBERS = {torch.float32: "float", torch.float64: "double"}  # in C++: a library for each, built when first wanted

_operators = torch.library.Library("bench", "FRAGMENT")  # type: ignore[no-untyped-call]
_operators.define(  # type: ignore[no-untyped-call]
    "native_forward(str cell, Tensor(a!) products, Tensor weight_hidden, Tensor bias_hidden, Tensor? lengths,"
    " Tensor[] initial) -> (Tensor, Tensor)"
)
_operators.define(  # type: ignore[no-untyped-call]
    "native_backward(str cell, Tensor grad_states, Tensor states, Tensor[] saved, Tensor weight_hidden,"
    " Tensor? lengths, Tensor[] initial) -> Tensor"
)


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether the native kernel can be used for these numbers; a machine's first call compiles it, in some seconds."""
    return why_not(dtype) is None


def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """Why the native kernel cannot be used, in one sentence; None where it can."""
    if os.environ.get("BENCH_KERNEL") == "loop":
        return "BENCH_KERNEL=loop asks for the loop in PyTorch"
    return _loaded(dtype)[1]


def handles(tensor: Tensor) -> bool:
    """Whether tensors of this kind are computed natively: float32 or float64 on the CPU."""
    return tensor.device.type == "cpu" and tensor.dtype in _NUMBERS


def forward(
    cell: str,
    products: Tensor,
    weight_hidden: Tensor,
    bias_hidden: Tensor,
    lengths: Tensor | None,
    initial: tuple[Tensor, ...] = (),
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps of one direction of one layer. All tensors are contiguous.

    products: (time, batch, gates · hidden) = x W_ih^T + b_ih, overwritten;  weight_hidden: (gates · hidden, hidden);
    bias_hidden: (gates · hidden,) = b_hh; what of b_ih the products lack may be in it, for a GRU's candidate, whose two
    biases a gate keeps apart, as (hidden,) more; then the cell's further weights;  lengths: None to read from the first
    step to the last; (batch,) int64 to read each text from its own last token to its first;  initial: the state before
    the first step, (batch, hidden) each: h, of an LSTM c, too; zero where there is none, and always where lengths are
    given.
    Returns: states (time, batch, hidden), zero at padding where lengths are given; what `backward` wants.
    """
    states, extra = torch.ops.bench.native_forward(cell, products, weight_hidden, bias_hidden, lengths, list(initial))
    if cell in ONLY_STATES:
        return states, ()
    return states, (products, extra, *([bias_hidden] if further_values(cell) else []))


def backward(
    cell: str,
    grad_states: Tensor,
    states: Tensor,
    saved: tuple[Tensor, ...],
    weight_hidden: Tensor,
    lengths: Tensor | None,
    initial: tuple[Tensor, ...] = (),
) -> Tensor:
    """Gradients before the gates, for all steps. All tensors are contiguous.

    grad_states: (time, batch, hidden), of the states;  states, saved: from `forward`;  initial: as there, a constant.
    Returns: (time, batch, columns); columns are gates · hidden, for a GRU 4 · hidden: reset, update, the candidate as
    the input sees it, the candidate as the hidden product sees it. Zero at padding where lengths are given.
    """
    gradients: Tensor = torch.ops.bench.native_backward(
        cell, grad_states, states, list(saved), weight_hidden, lengths, list(initial)
    )
    return gradients


def state_after(cell: str, states: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What is held after the last step of a recurrence that read from first to last; from what `forward` returned."""
    return (states[-1], saved[1][-1]) if declared(cell).states == 2 else (states[-1],)


@cache
def _loaded(dtype: torch.dtype) -> tuple[RecurrenceLibrary | None, str | None]:
    """The library for numbers of a type, or why there is none."""
    try:
        return RecurrenceLibrary(library(_NUMBERS[dtype], lambda path: _check(path, dtype))), None
    except CompilerError as error:
        return None, str(error)
    except (OSError, AttributeError) as error:
        return None, f"the compiled kernel cannot be loaded: {error}"


def _library(dtype: torch.dtype) -> RecurrenceLibrary:
    loaded, reason = _loaded(dtype)
    if loaded is None:
        raise RuntimeError(reason)
    return loaded


def _check(path: Path, dtype: torch.dtype) -> None:
    """Raise `CompilerError` for a library that does not compute what the equations do."""
    try:
        compiled = RecurrenceLibrary(path)
    except (OSError, AttributeError) as error:
        raise CompilerError(f"the compiled kernel cannot be loaded: {error}") from None
    for cell in CELLS:
        off = largest_error(compiled, cell, dtype)
        if not off < torch.finfo(dtype).eps ** 0.75:  # nor if it is no number
            raise CompilerError(f"the compiled kernel computes a {cell} wrongly and is not used")


def _forward(
    cell: str,
    products: Tensor,
    weight_hidden: Tensor,
    bias_hidden: Tensor,
    lengths: Tensor | None,
    initial: list[Tensor],
) -> tuple[Tensor, Tensor]:
    return _library(products.dtype).run_forward(cell, products, weight_hidden, bias_hidden, lengths, initial)


def _backward(
    cell: str,
    grad_states: Tensor,
    states: Tensor,
    saved: list[Tensor],
    weight_hidden: Tensor,
    lengths: Tensor | None,
    initial: list[Tensor],
) -> Tensor:
    return _library(states.dtype).run_backward(cell, grad_states, states, saved, weight_hidden, lengths, initial)


_operators.impl("native_forward", _forward, "CPU")  # type: ignore[no-untyped-call]
_operators.impl("native_backward", _backward, "CPU")  # type: ignore[no-untyped-call]
