"""Truncated backpropagation through time: the state goes on from window to window, the gradient ends at their borders.

A text is read in windows of K steps. Each begins with the state that the one before it left, taken as a constant, so
that a gradient flows back to the beginning of its own window and no further; windows do not overlap: BPTT(K; K) in the
terms of Williams & Peng (1990). No window's graph outlives it: the forward pass keeps the states at the borders alone,
and the backward pass computes each window again when its turn comes (Chen et al. 2016; for recurrent networks Gruslys
et al. 2016). So one more forward pass buys memory. Of B texts of T steps, with E inputs, H units, s parts of the state
(an LSTM has h and c) and r values per unit and step that a recurrence and its derivative hold (gates, their gradients),

    through the whole text   B · T · (E + H + r·H)                    inputs, states, and what the recurrence holds
    in windows of K          B · (T·(E + H) + (T/K)·s·H + K·r·H)      borders, and the last of these for one window

values stand beside the gradients of inputs and states, which are the same in both. A window that no gradient arrives
at is not computed again: where `pooling=last`, all but the last one of each text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bench.models.cells.kinds import State
from bench.models.kernels.layers import StepLayer
from bench.models.recurrent_dropout import DroppedDirection

# (time, batch, features) and the state before, () for zero → (time, batch, hidden) and the state after.
Read = Callable[[Tensor, State], tuple[Tensor, State]]


def read_in_windows(
    direction: nn.Module | DroppedDirection, inputs: Tensor, window: int, order: Tensor | None = None
) -> Tensor:
    """States of every step of one direction, their gradient truncated at the windows' borders; differentiable once.

    direction: a `StepLayer`, or a module that is called as `nn.GRU` is;  inputs: (time, batch, features), best
    contiguous;  window: steps, from the first one that is read;  order: (time, batch), the rows of (time · batch) in
    which each text's steps are found as it reads them, padding included; None to read from the first step to the last.
    Returns (time, batch, hidden), each state in the place of its step.
    """
    weights = tuple(direction.parameters())
    states: Tensor = _Windows.apply(_reader(direction), window, order, inputs, *weights)  # type: ignore[no-untyped-call]
    return states


def windows(time: int, window: int) -> list[slice]:
    """The steps of each window; the last one has what is left."""
    return [slice(first, min(first + window, time)) for first in range(0, time, window)]


def _reader(direction: nn.Module | DroppedDirection) -> Read:
    if isinstance(direction, StepLayer):
        return direction.read_from

    def read(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        given = state if len(state) > 1 else next(iter(state), None)
        states, after = direction(inputs.transpose(0, 1), given)
        return states.transpose(0, 1), after if isinstance(after, tuple) else (after,)

    return read


class _Windows(Function):
    """`read_in_windows`, and its derivative: window after window, each computed again."""

    @staticmethod
    def forward(ctx: Any, read: Read, window: int, order: Tensor | None, inputs: Tensor, *weights: Tensor) -> Tensor:
        inputs, ctx.read, ctx.weights = inputs.contiguous(), read, len(weights)
        ctx.precision = _precision_of(inputs.device.type)
        ctx.windows = windows(len(inputs), window)
        states, borders = _carried(read, inputs, ctx.windows, order)
        ctx.save_for_backward(order, inputs, *weights, *(part for border in borders for part in border))
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        order, inputs, *rest = ctx.saved_tensors
        weights, borders = rest[: ctx.weights], _in_parts(rest[ctx.weights :], len(ctx.windows) - 1)
        needs_inputs, *needs_weights = ctx.needs_input_grad[3:]
        trained = [weight for weight, needed in zip(weights, needs_weights, strict=True) if needed]
        grad_inputs = torch.zeros_like(inputs) if needs_inputs else None
        sums = [torch.zeros_like(weight) for weight in trained]
        grad_states = grad_states.contiguous()
        for steps, state in reversed(list(zip(ctx.windows, [(), *borders], strict=True))):
            arriving = _taken(grad_states, order, steps)
            if _is_zero(arriving):
                continue
            given = _taken(inputs, order, steps).detach().requires_grad_(needs_inputs)
            with torch.enable_grad(), ctx.precision():
                states, _ = ctx.read(given, state)
            sought = [given, *trained] if needs_inputs else trained
            gradients = list(torch.autograd.grad(states, sought, arriving, materialize_grads=True))
            if grad_inputs is not None:
                _put(grad_inputs, order, steps, gradients.pop(0))
            for total, gradient in zip(sums, gradients, strict=True):
                total.add_(gradient)
        found = iter(sums)
        return None, None, None, grad_inputs, *(next(found) if needed else None for needed in needs_weights)


def _carried(read: Read, inputs: Tensor, parts: Sequence[slice], order: Tensor | None) -> tuple[Tensor, list[State]]:
    """States of all steps, and the whole state at each border between windows."""
    first, after = read(_taken(inputs, order, parts[0]), ())
    states = first.new_empty(len(inputs), *first.shape[1:])
    _put(states, order, parts[0], first)
    borders: list[State] = []
    for steps in parts[1:]:
        borders.append(tuple(part.clone() for part in after))  # of a view, all of its memory would be kept
        found, after = read(_taken(inputs, order, steps), borders[-1])
        _put(states, order, steps, found)
    return states, borders


def _in_parts(tensors: Sequence[Tensor], count: int) -> list[State]:
    """As many states, from all their parts in a row."""
    size = len(tensors) // max(count, 1)
    return [tuple(tensors[place * size : (place + 1) * size]) for place in range(count)]


def _precision_of(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """The `torch.autocast` that is in force, for another time."""
    return partial(torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))


def _taken(values: Tensor, order: Tensor | None, steps: slice) -> Tensor:
    """Some steps as they are read. values: (time, batch, features), contiguous."""
    return values[steps] if order is None else F.embedding(order[steps], values.flatten(0, 1))


def _put(target: Tensor, order: Tensor | None, steps: slice, values: Tensor) -> None:
    """Some steps, as they were read, into their places. target: (time, batch, features), contiguous."""
    if order is None:
        target[steps] = values
    else:
        target.view(-1, target.shape[2]).index_copy_(0, order[steps].flatten(), values.flatten(0, 1))


def _is_zero(gradient: Tensor) -> bool:
    """Whether nothing arrives. On a GPU looking would make the host wait, and nobody looks."""
    return gradient.device.type == "cpu" and not bool(gradient.any())
