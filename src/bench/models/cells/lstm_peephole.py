"""The LSTM whose gates see c."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps


def lstm_peephole_step(
    inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor, peepholes: Tensor
) -> State:
    """One step of an LSTM with peephole connections (Gers & Schmidhuber 2000).

    inputs: (batch, 4 * hidden), gates input, forget, cell, output;  state: (h, c), each (batch, hidden);
    peepholes: (3 * hidden,), one weight a unit for the input and the forget gate, which see c as it was, and the output
    gate, which sees c as it has become.
    """
    hidden, carousel = state
    peep_entry, peep_forget, peep_output = peepholes.chunk(3)
    entry, forget, candidate, output = (inputs + hidden @ weight_hidden.T + bias_hidden).chunk(4, dim=1)
    entry, forget = torch.sigmoid(entry + peep_entry * carousel), torch.sigmoid(forget + peep_forget * carousel)
    carousel = forget * carousel + entry * torch.tanh(candidate)
    return torch.sigmoid(output + peep_output * carousel) * torch.tanh(carousel), carousel


def lstm_peephole_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, c after and before each step, tanh c, peepholes."""
    size = across.shape[0]
    states, before = steps.history(products, size)
    before = steps.seen(before)
    carousels, carousels_before = steps.history(products, size)
    squashed, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    peep_i, peep_f, peep_o = bias.chunk(3)
    entering = products[:, :, : 3 * size]  # the gates before c
    views = (products, entering, *products.chunk(4, dim=2), before, states, carousels_before, carousels, squashed)
    for time, (gates, enter, i, f, g, o, hidden, after, c_before, c, tanh_c) in steps.read(*views):
        gates.addmm_(hidden, across)
        i.addcmul_(c_before, peep_i)
        f.addcmul_(c_before, peep_f)
        g.add_(g)
        enter.sigmoid_()
        torch.add(minus_one, g, alpha=2, out=g)  # tanh x = 2 σ(2x) − 1: one call for three gates
        torch.mul(f, c_before, out=c).addcmul_(i, g)
        o.addcmul_(c, peep_o).sigmoid_()
        torch.mul(o, torch.tanh(c, out=tanh_c), out=after)
        steps.hold(time, after, c)
    return states, (products, carousels, carousels_before, squashed, bias)


def lstm_peephole_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before input, forget, cell and output gate; see `CellKind.backward`."""
    products, _, before, squashed, peepholes = saved
    peep_i, peep_f, peep_o = peepholes.chunk(3)
    gradients = torch.empty_like(products)
    later, grad_carousel = torch.zeros_like(products[0]), torch.zeros_like(states[0])
    for block in steps.blocks(states):
        entry, forget, candidate, output = products[block].chunk(4, dim=2)
        to_output = sigmoid_backward(squashed[block], output)
        factors = (
            sigmoid_backward(candidate, entry),
            sigmoid_backward(before[block], forget),
            tanh_backward(entry, candidate),
            to_output,
            tanh_backward(output, squashed[block]).addcmul_(to_output, peep_o),
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
            grad_carousel.mul_(f).addcmul_(di, peep_i).addcmul_(df, peep_f)
            later = gates
    return gradients


def peephole_gradients(
    columns: Tensor, saved: Saved, weight: Tensor, backwards: bool, initial: State
) -> tuple[Tensor, ...]:
    """Of the peepholes: what the gates ask of c as it was, twice, and as it has become; see `CellKind`."""
    carousels = saved[1]
    entry, forget, _, output = columns.chunk(4, dim=2)
    now, before = (slice(None, -1), slice(1, None)) if backwards else (slice(1, None), slice(None, -1))
    seen = carousels[before]
    sums = [(gate[now] * seen).sum((0, 1)) for gate in (entry, forget)]
    if initial:
        sums = [found + (gate[0] * initial[1]).sum(0) for found, gate in zip(sums, (entry, forget), strict=True)]
    return (torch.cat([*sums, (output * carousels).sum((0, 1))]),)


LSTM_PEEPHOLE_CELLS = {
    "lstm_peephole": CellKind(
        lstm_peephole_step, lstm_peephole_forward, lstm_peephole_backward,
        columns=4, hidden_columns=((0, 4),), additive=4, masked=True, further_gradients=peephole_gradients,
        compiled=True,
    ),
}  # fmt: skip
