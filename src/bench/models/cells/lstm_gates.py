"""LSTMs of three gates: with input and forget gate coupled, and without forget gate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps


def lstm_cifg_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of an LSTM with coupled input and forget gate (Greff et al. 2017).

    inputs: (batch, 3 * hidden), gates forget, cell, output;  state: (h, c), each (batch, hidden). The input gate is
    1 − f. Greff et al. compute the input gate and take 1 − i: the same functions, since 1 − σ(x) = σ(−x).
    """
    hidden, carousel = state
    forget, candidate, output = (inputs + hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    carousel = torch.lerp(torch.tanh(candidate), carousel, torch.sigmoid(forget))
    return torch.sigmoid(output) * torch.tanh(carousel), carousel


def lstm_noforget_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of an LSTM without forget gate: c only adds (Hochreiter & Schmidhuber 1997).

    inputs: (batch, 3 * hidden), gates input, cell, output;  state: (h, c), each (batch, hidden). Squashed by tanh, as
    the variant `NFG` of Greff et al. 2017 is; in 1997 the two functions were logistic ones of ranges 4 and 2.
    """
    hidden, carousel = state
    entry, candidate, output = (inputs + hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    carousel = carousel + torch.sigmoid(entry) * torch.tanh(candidate)
    return torch.sigmoid(output) * torch.tanh(carousel), carousel


def _forward(
    steps: Steps, products: Tensor, across: Tensor, carry: Callable[[Tensor, Tensor, Tensor, Tensor], object]
) -> tuple[Tensor, Saved]:
    """All steps by hand. carry: writes c, from c before the step, the first gate and the candidate."""
    states, before = steps.history(products, across.shape[0])
    before = steps.seen(before)
    carousels, carousels_before = steps.history(products, across.shape[0])
    squashed, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    views = (products, *products.chunk(3, dim=2), before, states, carousels_before, carousels, squashed)
    for time, (gates, first, g, o, hidden, after, c_before, c, tanh_c) in steps.read(*views):
        gates.addmm_(hidden, across)
        g.add_(g)
        gates.sigmoid_()
        torch.add(minus_one, g, alpha=2, out=g)  # tanh x = 2 σ(2x) − 1: one call for all gates
        carry(c, c_before, first, g)
        torch.mul(o, torch.tanh(c, out=tanh_c), out=after)
        steps.hold(time, after, c)
    return states, (products, carousels_before, squashed)


def _backward(
    steps: Steps,
    grad_states: Tensor,
    states: Tensor,
    saved: Saved,
    weight: Tensor,
    fed: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Tensor:
    """Gradients before the three gates. fed: from c before a step, the first gate and the candidate, what c's gradient
    is multiplied with on its way to that gate, to the candidate, and to c before the step."""
    products, before, squashed = saved
    gradients = torch.empty_like(products)
    later, grad_carousel = torch.zeros_like(products[0]), torch.zeros_like(states[0])
    for block in steps.blocks(states):
        first, candidate, output = products[block].chunk(3, dim=2)
        factors = (
            *fed(before[block], first, candidate),
            sigmoid_backward(squashed[block], output),
            tanh_backward(output, squashed[block]),
        )
        out = gradients[block]
        views = (grad_states[block], out, *out.chunk(3, dim=2), *factors)
        for time, (grad, gates, d_first, dg, do, to_first, to_g, kept, to_o, to_c) in steps.unread(*views, block=block):
            grad_hidden = steps.received(grad, (later, weight))
            steps.hold(time, grad_hidden, grad_carousel)
            grad_carousel.addcmul_(grad_hidden, to_c)
            torch.mul(grad_carousel, to_first, out=d_first)
            torch.mul(grad_carousel, to_g, out=dg)
            torch.mul(grad_hidden, to_o, out=do)
            grad_carousel.mul_(kept)
            later = gates
    return gradients


def lstm_cifg_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, c before each step, and tanh c."""
    return _forward(steps, products, across, lambda c, c_before, f, g: torch.lerp(g, c_before, f, out=c))


def lstm_cifg_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before forget, cell and output gate; see `CellKind.backward`."""

    def fed(before: Tensor, forget: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return sigmoid_backward(before - candidate, forget), tanh_backward(1 - forget, candidate), forget

    return _backward(steps, grad_states, states, saved, weight, fed)


def lstm_noforget_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, c before each step, and tanh c."""
    return _forward(steps, products, across, lambda c, c_before, i, g: torch.addcmul(c_before, i, g, out=c))


def lstm_noforget_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before input, cell and output gate; see `CellKind.backward`."""

    def fed(before: Tensor, entry: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unchanged = before.new_ones(()).expand_as(before)  # the constant error carousel
        return sigmoid_backward(candidate, entry), tanh_backward(entry, candidate), unchanged

    return _backward(steps, grad_states, states, saved, weight, fed)


LSTM_GATES_CELLS = {
    "lstm_cifg": CellKind(
        lstm_cifg_step, lstm_cifg_forward, lstm_cifg_backward,
        columns=3, hidden_columns=((0, 3),), additive=3, masked=True, compiled=True,
    ),
    "lstm_noforget": CellKind(
        lstm_noforget_step, lstm_noforget_forward, lstm_noforget_backward,
        columns=3, hidden_columns=((0, 3),), additive=3, masked=True, compiled=True,
    ),
}  # fmt: skip
