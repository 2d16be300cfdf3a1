"""Long short-term memory: equations, and the same by hand; see `bench.models.cells` for what the functions are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps


def lstm_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of an LSTM with forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000).

    inputs: (batch, 4 * hidden), gates input, forget, cell, output;  state: (h, c), each (batch, hidden).
    """
    hidden, carousel = state
    gates = inputs + hidden @ weight_hidden.T + bias_hidden
    entry, forget, candidate, output = gates.chunk(4, dim=1)
    carousel = torch.sigmoid(forget) * carousel + torch.sigmoid(entry) * torch.tanh(candidate)
    return torch.sigmoid(output) * torch.tanh(carousel), carousel


def lstm_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, c after and before each step, and tanh c."""
    states, before = steps.history(products, across.shape[0])
    before = steps.seen(before)
    carousels, carousels_before = steps.history(products, across.shape[0])
    squashed, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    views = (products, *products.chunk(4, dim=2), before, states, carousels_before, carousels, squashed)
    for time, (gates, i, f, g, o, hidden, after, c_before, c, tanh_c) in steps.read(*views):
        gates.addmm_(hidden, across)
        g.add_(g)
        gates.sigmoid_()
        torch.add(minus_one, g, alpha=2, out=g)  # tanh x = 2 σ(2x) − 1: one call for all gates
        torch.mul(f, c_before, out=c).addcmul_(i, g)
        torch.mul(o, torch.tanh(c, out=tanh_c), out=after)
        steps.hold(time, after, c)
    return states, (products, carousels_before, squashed)


def lstm_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before input, forget, cell and output gate; see `CellKind.backward`."""
    products, before, squashed = saved
    gradients = torch.empty_like(products)
    later, grad_carousel = torch.zeros_like(products[0]), torch.zeros_like(states[0])
    for block in steps.blocks(states):
        entry, forget, candidate, output = products[block].chunk(4, dim=2)
        factors = (
            sigmoid_backward(candidate, entry),
            sigmoid_backward(before[block], forget),
            tanh_backward(entry, candidate),
            sigmoid_backward(squashed[block], output),
            tanh_backward(output, squashed[block]),
        )
        out = gradients[block]
        views = (grad_states[block], forget, out, *out.chunk(4, dim=2), *factors)
        for time, (grad, f, gates, di, df, dg, do, to_i, to_f, to_g, to_o, to_c) in steps.unread(*views, block=block):
            grad_hidden = steps.received(grad, (later, weight))
            steps.hold(time, grad_hidden, grad_carousel)
            grad_carousel.addcmul_(grad_hidden, to_c)
            torch.mul(grad_carousel, to_i, out=di)
            torch.mul(grad_carousel, to_f, out=df)
            torch.mul(grad_carousel, to_g, out=dg)
            torch.mul(grad_hidden, to_o, out=do)
            grad_carousel.mul_(f)
            later = gates
    return gradients


LSTM_CELLS = {
    "lstm": CellKind(
        lstm_step, lstm_forward, lstm_backward,
        module=nn.LSTM, columns=4, hidden_columns=((0, 4),), additive=4, masked=True, compiled=True,
    ),
}  # fmt: skip
