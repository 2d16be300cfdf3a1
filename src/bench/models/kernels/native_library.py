"""One compiled library of the recurrence (recurrence.cpp): its functions, their arguments, and where tensors lie."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.declarations import declared
from bench.models.sizes import GATES

CELLS = (
    "rnn", "gru", "lstm", "rnn_relu", "lstm_cifg", "lstm_noforget", "lstm_peephole", "mgu", "gru_reset_before",
)  # fmt: skip  # in the order of gates.hpp
_COLUMNS = GATES | {"gru": 4}  # of the gradients before the gates, in hidden sizes
ONLY_STATES = ("rnn", "rnn_relu")  # cells whose backward pass needs nothing else


class RecurrenceLibrary:
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
        """As `native.forward`: states, and the second of the saved tensors."""
        steps, batch, rows = products.shape
        hidden, dtype = rows // GATES[cell], products.dtype
        biases = rows + hidden * (1 if cell == "gru" else further_values(cell))
        if cell == "gru" and len(bias) == rows:
            bias = torch.cat([bias, bias.new_zeros(hidden)])
        states = products.new_empty((steps, batch, hidden))
        extra = products.new_empty((0,) if cell in ONLY_STATES else (steps, batch, hidden))
        _check_done(
            self._forward(
                CELLS.index(cell), steps, batch, hidden, _address(lengths, torch.int64, batch),
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
        """As `native.backward`: gradients before the gates."""
        steps, batch, hidden = states.shape
        rows, dtype = GATES[cell] * hidden, states.dtype
        gates, extra, bias = (*saved, None, None, None)[:3]
        gradients = states.new_empty((steps, batch, _COLUMNS[cell] * hidden))
        _check_done(
            self._backward(
                CELLS.index(cell), steps, batch, hidden, _address(lengths, torch.int64, batch),
                _address(weight, dtype, rows, hidden), _address(bias, dtype, rows + hidden * further_values(cell)),
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


def further_values(cell: str) -> int:
    """Values of further weights for each hidden unit."""
    return sum(weight.per_unit for weight in declared(cell).further)


def launcher() -> int | None:
    """The address of GOMP_parallel in the OpenMP runtime that PyTorch has loaded: a second one would fight for cores.

    GNU's, LLVM's and Intel's runtimes all have it; without it the kernel starts threads of its own.
    """
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError, TypeError):
        return None
