"""Whether a library that was just compiled computes what the equations say: a wrong one must never train."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.declarations import declared
from bench.models.cells import CELLS
from bench.models.kernels.native_library import RecurrenceLibrary

_STEPS, _BATCH, _HIDDEN = 3, 7, 21  # tails in every dimension, whatever the processor's vectors
_LENGTHS = (3, 1, 2, 3, 3, 1, 2)


@torch.inference_mode(False)
@torch.enable_grad()
def largest_error(compiled: RecurrenceLibrary, cell: str, dtype: torch.dtype) -> float:
    """The largest difference from the equations in states and gradients, in both directions, and from a given state.

    Draws no random number: those of a run must not depend on whether its machine had compiled before.
    """
    given = tuple(_waves(dtype, _BATCH, _HIDDEN) / (part + 1) for part in range(declared(cell).states))
    cases: list[tuple[Tensor | None, tuple[Tensor, ...]]] = [(None, ()), (torch.tensor(_LENGTHS), ()), (None, given)]
    return max(_largest_error(compiled, cell, dtype, *case) for case in cases)


def _largest_error(
    compiled: RecurrenceLibrary, cell: str, dtype: torch.dtype, lengths: Tensor | None, initial: tuple[Tensor, ...]
) -> float:
    rows = declared(cell).gates * _HIDDEN
    weight, bias = _waves(dtype, rows, _HIDDEN) / _HIDDEN**0.5, _waves(dtype, rows)
    products = _waves(dtype, _STEPS, _BATCH, rows).requires_grad_()
    further = [_waves(dtype, vector.per_unit * _HIDDEN) for vector in declared(cell).further]
    expected = _equations(cell, products, (weight, bias, *further), lengths, initial)
    grad_states = _waves(dtype, _STEPS, _BATCH, _HIDDEN) * _held(lengths)
    (expected_gradients,) = torch.autograd.grad((expected * grad_states).sum(), products)
    own = products.detach().clone()
    given = torch.cat([bias, *further])
    states, extra = compiled.run_forward(cell, own, weight, given, lengths, initial)
    saved = [own, extra, *([given] if further else [])] if extra.numel() else []
    gradients = compiled.run_backward(cell, grad_states, states, saved, weight, lengths, initial)[..., :rows]
    return torch.stack([(states - expected).abs().max(), (gradients - expected_gradients).abs().max()]).max().item()


def _equations(
    cell: str, products: Tensor, weights: tuple[Tensor, ...], lengths: Tensor | None, initial: tuple[Tensor, ...]
) -> Tensor:
    """States of every step, zero at padding. weights: W_hh, b_hh and further ones;  initial: () for zero."""
    state = initial or tuple(weights[0].new_zeros(_BATCH, _HIDDEN) for _ in range(declared(cell).states))
    states: dict[int, Tensor] = {}
    for time in range(_STEPS) if lengths is None else reversed(range(_STEPS)):
        after = CELLS[cell].step(products[time], state, *weights)
        state = tuple(new * _held(lengths)[time] for new in after)
        states[time] = state[0]
    return torch.stack([states[time] for time in range(_STEPS)])


def _held(lengths: Tensor | None) -> Tensor:
    """Which steps are a text's own. (time, batch, 1)"""
    ends = torch.full((_BATCH,), _STEPS) if lengths is None else lengths
    return (torch.arange(_STEPS)[:, None] < ends)[..., None]


def _waves(dtype: torch.dtype, *shape: int) -> Tensor:
    """Numbers between -1 and 1 that do not repeat."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(1, count + 1, dtype=dtype) * 1.7 + len(shape)).view(shape)
