"""Simple recurrent networks: equations, and the same by hand; see `bench.models.cells` for what the functions are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bench.models.cells.kinds import CellKind, Saved, State, tanh_backward
from bench.models.kernels.steps import Steps


def rnn_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of a simple recurrent network (Elman 1990).

    inputs: (batch, hidden) = x W_ih^T + b_ih;  state: (h,) of (batch, hidden);  weight_hidden: (hidden, hidden).
    """
    (hidden,) = state
    return (torch.tanh(inputs + hidden @ weight_hidden.T + bias_hidden),)


def rnn_relu_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of a simple recurrent network of rectified linear units (Le, Jaitly & Hinton 2015).

    inputs: (batch, hidden);  state: (h,) of (batch, hidden);  weight_hidden: (hidden, hidden), at first the identity.
    """
    (hidden,) = state
    return (torch.relu(inputs + hidden @ weight_hidden.T + bias_hidden),)


def _forward(
    steps: Steps, products: Tensor, across: Tensor, squash: Callable[[Tensor, Tensor], object]
) -> tuple[Tensor, Saved]:
    """All steps by hand. squash: writes h, its second argument, from what comes before the non-linearity."""
    states, before = steps.history(products, across.shape[0])
    for time, (gate, hidden, after) in steps.read(products, steps.seen(before), states):
        squash(gate.addmm_(hidden, across), after)
        steps.hold(time, after)
    return states, ()


def _backward(
    steps: Steps,
    grad_states: Tensor,
    states: Tensor,
    weight: Tensor,
    through: Callable[[Tensor, Tensor, Tensor], object],
) -> Tensor:
    """Gradients before the gate. through: writes them, its last argument, from the gradient of h and h."""
    gradients = torch.empty_like(states)
    later = torch.zeros_like(states[0])
    for time, (grad, state, gate) in steps.unread(grad_states, states, gradients):
        grad_hidden = steps.received(grad, (later, weight))
        steps.hold(time, grad_hidden)
        through(grad_hidden, state, gate)
        later = gate
    return gradients


def rnn_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`."""
    return _forward(steps, products, across, lambda before, h: torch.tanh(before, out=h))


def rnn_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before the gate: dh tanh'; see `CellKind.backward`."""
    through = tanh_backward.grad_input
    return _backward(steps, grad_states, states, weight, lambda grad, h, out: through(grad, h, grad_input=out))


def rnn_relu_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`."""
    return _forward(steps, products, across, lambda before, h: torch.clamp(before, min=0, out=h))


def rnn_relu_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before the gate: dh where h > 0; see `CellKind.backward`."""
    through = torch.ops.aten.threshold_backward.grad_input
    return _backward(steps, grad_states, states, weight, lambda grad, h, out: through(grad, h, 0, grad_input=out))


RNN_CELLS = {
    "rnn": CellKind(
        rnn_step, rnn_forward, rnn_backward,
        module=nn.RNN, columns=1, hidden_columns=((0, 1),), additive=1, masked=True, compiled=True,
    ),
    "rnn_relu": CellKind(
        rnn_relu_step, rnn_relu_forward, rnn_relu_backward,
        module=partial(nn.RNN, nonlinearity="relu"), columns=1, hidden_columns=((0, 1),), additive=1, masked=True,
        compiled=True,
    ),
}  # fmt: skip
