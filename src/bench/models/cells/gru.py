"""Gated recurrent units: equations, and the same by hand; see `bench.models.cells` for what the functions are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps


def gru_step(
    inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor, exposed: Tensor | None = None
) -> State:
    """One step of a GRU with the reset gate applied after the product (Cho et al. 2014, v1; cuDNN, PyTorch).

    inputs: (batch, 3 * hidden), gates reset, update, candidate;  state: (h,) of (batch, hidden);  exposed: what the
    products see of h, where dropout leaves a part of it.
    """
    (hidden,) = state
    seen = hidden if exposed is None else exposed
    reset_hidden, update_hidden, candidate_hidden = (seen @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
    reset_input, update_input, candidate_input = inputs.chunk(3, dim=1)
    reset = torch.sigmoid(reset_input + reset_hidden)
    update = torch.sigmoid(update_input + update_hidden)
    candidate = torch.tanh(candidate_input + reset * candidate_hidden)
    return (torch.lerp(candidate, hidden, update),)


def gru_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates and, of the candidate, h W_hn^T + b_hn."""
    size = across.shape[0]
    states, before = steps.history(products, size)
    hidden_products, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    across_gates, across_candidate = across[:, : 2 * size].contiguous(), across[:, 2 * size :].contiguous()
    gates, (reset, update, candidate) = products[:, :, : 2 * size], products.chunk(3, dim=2)
    views = (gates, reset, update, candidate, hidden_products, before, steps.seen(before), states)
    for time, (gate, r, z, n, product, hidden, seen, after) in steps.read(*views):
        gate.addmm_(seen, across_gates).sigmoid_()
        torch.addmm(bias, seen, across_candidate, out=product)
        n.addcmul_(r, product)
        n.add_(n).sigmoid_()
        torch.add(minus_one, n, alpha=2, out=n)  # tanh x = 2 σ(2x) − 1: PyTorch's own is slow on a slice
        torch.lerp(n, hidden, z, out=after)
        steps.hold(time, after)
    return states, (products, hidden_products, before)


def gru_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before reset, update and candidate, and of the candidate's hidden product; see `CellKind.backward`."""
    products, hidden_products, before = saved
    size = states.shape[2]
    weight_gates, weight_candidate = weight[: 2 * size], weight[2 * size :]
    gradients = states.new_empty(*states.shape[:2], 4 * size)
    later = torch.zeros_like(states[0])  # what h_t receives from step t + 1
    for block in steps.blocks(states):
        reset, update, candidate = products[block].chunk(3, dim=2)
        to_candidate = tanh_backward(1 - update, candidate)
        to_reset = sigmoid_backward(to_candidate * hidden_products[block], reset)
        to_update = sigmoid_backward(before[block] - candidate, update)
        factors = (to_reset, to_update, to_candidate, to_candidate * reset)
        out = gradients[block]
        views = (grad_states[block], update, out[:, :, : 2 * size], *out.chunk(4, dim=2), *factors)
        for time, (grad, z, gates, *parts) in steps.unread(*views, block=block):
            grad_hidden = later.add_(grad)
            steps.hold(time, grad_hidden)
            for gradient, factor in zip(parts[:4], parts[4:], strict=True):
                torch.mul(grad_hidden, factor, out=gradient)
            steps.received(later.mul_(z), (gates, weight_gates), (parts[3], weight_candidate), out=later)
    return gradients


GRU_CELLS = {
    "gru": CellKind(
        gru_step, gru_forward, gru_backward,
        module=nn.GRU, columns=4, hidden_columns=((0, 2), (3, 4)), additive=2, carries=True, masked=True, compiled=True,
    ),
}  # fmt: skip
