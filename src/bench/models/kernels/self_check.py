"""Whether a library that was just compiled computes what the equations say: a wrong one must never train."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bench.models.cells import CELLS
from bench.declarations import declared

_STEPS, _BATCH, _HIDDEN = 3, 7, 21  # tails in every dimension, whatever the processor's vectors
_LENGTHS = (3, 1, 2, 3, 3, 1, 2)


class Recurrence(Protocol):
    """What is checked; arguments and results as in native.py."""

    def run_forward(
        self, cell: str, products: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """States, and the second of the saved tensors."""
        ...

    def run_backward(
        self,
        cell: str,
        grad_states: Tensor,
        states: Tensor,
        saved: list[Tensor],
        weight: Tensor,
        lengths: Tensor | None,
    ) -> Tensor:
        """Gradients before the gates."""
        ...


@torch.inference_mode(False)
@torch.enable_grad()
def largest_error(compiled: Recurrence, cell: str, dtype: torch.dtype) -> float:
    """The largest difference from the equations in states and gradients, in both directions.

    Draws no random number: those of a run must not depend on whether its machine had compiled before.
    """
    return max(_largest_error(compiled, cell, dtype, lengths) for lengths in (None, torch.tensor(_LENGTHS)))


def _largest_error(compiled: Recurrence, cell: str, dtype: torch.dtype, lengths: Tensor | None) -> float:
    rows = declared(cell).gates * _HIDDEN
    weight, bias = _waves(dtype, rows, _HIDDEN) / _HIDDEN**0.5, _waves(dtype, rows)
    products = _waves(dtype, _STEPS, _BATCH, rows).requires_grad_()
    expected = _equations(cell, products, weight, bias, lengths)
    grad_states = _waves(dtype, _STEPS, _BATCH, _HIDDEN) * _held(lengths)
    (expected_gradients,) = torch.autograd.grad((expected * grad_states).sum(), products)
    own = products.detach().clone()
    states, extra = compiled.run_forward(cell, own, weight, bias, lengths)
    saved = [] if cell == "rnn" else [own, extra]
    gradients = compiled.run_backward(cell, grad_states, states, saved, weight, lengths)[..., :rows]
    return torch.stack([(states - expected).abs().max(), (gradients - expected_gradients).abs().max()]).max().item()


def _equations(cell: str, products: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
    """States of every step, zero at padding."""
    state = tuple(weight.new_zeros(_BATCH, _HIDDEN) for _ in range(declared(cell).states))
    states: dict[int, Tensor] = {}
    for time in range(_STEPS) if lengths is None else reversed(range(_STEPS)):
        after = CELLS[cell].step(products[time], state, weight, bias)
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
