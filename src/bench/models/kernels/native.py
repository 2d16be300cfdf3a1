"""The recurrence in native code (recurrence.cpp): float32 and float64 on the CPU, compiled at first use.

Registered with PyTorch as `bench::native_forward` and `bench::native_backward`, so that a profiler sees which
implementation ran. Where nothing can be compiled, `available()` is false and `why_not()` says why; the loop in PyTorch
(loop.py) computes the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bench.declarations import declared
from bench.models.kernels.compiler import CompilerError, library
from bench.models.kernels.self_check import largest_error
from bench.models.sizes import GATES

_CELLS = (
    "rnn", "gru", "lstm", "rnn_relu", "lstm_cifg", "lstm_noforget", "lstm_peephole", "mgu", "gru_reset_before",
)  # fmt: skip  # in the order of gates.hpp
_COLUMNS = GATES | {"gru": 4}  # of the gradients before the gates, in hidden sizes
_ONLY_STATES = ("rnn", "rnn_relu")  # cells whose backward pass needs nothing else
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
    return states, () if cell in _ONLY_STATES else (products, extra, *([bias_hidden] if _further(cell) else []))


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


def _further(cell: str) -> int:
    """Values of further weights for each hidden unit."""
    return sum(weight.per_unit for weight in declared(cell).further)


class _Library:
    """The functions of one compiled library."""

    def __init__(self, path: Path) -> None:
        """Raises: `OSError`, `AttributeError` if it cannot be loaded or is something else."""
        opened = ctypes.CDLL(str(path))
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        shape = [number, size, size, size]
        self._forward, self._backward = opened.bench_forward, opened.bench_backward
        self._forward.argtypes = [*shape, *[pointer] * 9, number]
        self._backward.argtypes = [*shape, *[pointer] * 11, number]
        self._launch = launcher()

    def run_forward(
        self,
        cell: str,
        products: Tensor,
        weight: Tensor,
        bias: Tensor,
        lengths: Tensor | None,
        initial: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, with the second saved tensor alone."""
        steps, batch, rows = products.shape
        hidden, dtype = rows // GATES[cell], products.dtype
        biases = rows + hidden * (1 if cell == "gru" else _further(cell))
        if cell == "gru" and len(bias) == rows:
            bias = torch.cat([bias, bias.new_zeros(hidden)])
        states = products.new_empty((steps, batch, hidden))
        extra = products.new_empty((0,) if cell in _ONLY_STATES else (steps, batch, hidden))
        _check_done(
            self._forward(
                _CELLS.index(cell), steps, batch, hidden, _address(lengths, torch.int64, batch),
                _address(weight, dtype, rows, hidden), _address(bias, dtype, biases),
                _address(products, dtype, steps, batch, GATES[cell] * hidden), extra.data_ptr(), states.data_ptr(),
                *_initial_addresses(initial, lengths, dtype, batch, hidden), self._launch, torch.get_num_threads(),
            )
        )  # fmt: skip
        return states, extra

    def run_backward(
        self,
        cell: str,
        grad_states: Tensor,
        states: Tensor,
        saved: list[Tensor],
        weight: Tensor,
        lengths: Tensor | None,
        initial: Sequence[Tensor] = (),
    ) -> Tensor:
        """As `backward`."""
        steps, batch, hidden = states.shape
        rows, dtype = GATES[cell] * hidden, states.dtype
        gates, extra, bias = (*saved, None, None, None)[:3]
        gradients = states.new_empty((steps, batch, _COLUMNS[cell] * hidden))
        _check_done(
            self._backward(
                _CELLS.index(cell), steps, batch, hidden, _address(lengths, torch.int64, batch),
                _address(weight, dtype, rows, hidden), _address(bias, dtype, rows + hidden * _further(cell)),
                _address(gates, dtype, steps, batch, rows),
                _address(extra, dtype, steps, batch, hidden), _address(states, dtype, steps, batch, hidden),
                _address(grad_states, dtype, steps, batch, hidden), gradients.data_ptr(),
                *_initial_addresses(initial, lengths, dtype, batch, hidden), self._launch, torch.get_num_threads(),
            )
        )  # fmt: skip
        return gradients


def _address(tensor: Tensor | None, dtype: torch.dtype, *shape: int) -> int | None:
    """Where a tensor lies, if it is what native code will take it for."""
    if tensor is None:
        return None
    if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(
            f"the native recurrence takes contiguous tensors; of {dtype} and shape {shape} here, "
            f"not {tensor.dtype}, {tuple(tensor.shape)} with strides {tensor.stride()}"
        )
    return tensor.data_ptr()


def _initial_addresses(
    initial: Sequence[Tensor], lengths: Tensor | None, dtype: torch.dtype, batch: int, hidden: int
) -> tuple[int | None, int | None]:
    """Where the state before the first step lies: h, and c of cells that have it."""
    if initial and lengths is not None:
        raise ValueError("texts that are read from their own ends begin with a zero state")
    state, carousel = (*initial, None, None)[:2]
    return _address(state, dtype, batch, hidden), _address(carousel, dtype, batch, hidden)


def _check_done(code: int) -> None:
    if code != 0:
        raise MemoryError("no memory for the native recurrence")


def launcher() -> int | None:
    """The address of GOMP_parallel in the OpenMP runtime that PyTorch has loaded: a second one would fight for cores.

    GNU's, LLVM's and Intel's runtimes all have it; without it the kernel starts threads of its own.
    """
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError, TypeError):
        return None


@cache
def _loaded(dtype: torch.dtype) -> tuple[_Library | None, str | None]:
    """The library for numbers of a type, or why there is none."""
    try:
        return _Library(library(_NUMBERS[dtype], lambda path: _check(path, dtype))), None
    except CompilerError as error:
        return None, str(error)
    except (OSError, AttributeError) as error:
        return None, f"the compiled kernel cannot be loaded: {error}"


def _library(dtype: torch.dtype) -> _Library:
    loaded, reason = _loaded(dtype)
    if loaded is None:
        raise RuntimeError(reason)
    return loaded


def _check(path: Path, dtype: torch.dtype) -> None:
    """Raise `CompilerError` for a library that does not compute what the equations do."""
    try:
        compiled = _Library(path)
    except (OSError, AttributeError) as error:
        raise CompilerError(f"the compiled kernel cannot be loaded: {error}") from None
    for cell in _CELLS:
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
