"""Cells in which a gate scales the state before it is multiplied: h W^T becomes (r ⊙ h) W^T.

The product has to wait for the gate, so each step takes two products, one after the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.cells.kinds import CellKind, Saved, State, sigmoid_backward, tanh_backward
from bench.models.kernels.steps import Steps


def gru_reset_before_step(
    inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor, exposed: Tensor | None = None
) -> State:
    """One step of a GRU with the reset gate applied before the product (Cho et al. 2014, arXiv 1406.1078v3).

    inputs: (batch, 3 * hidden), gates reset, update, candidate;  state: (h,) of (batch, hidden);  exposed: what the
    products see of h, where dropout leaves a part of it.
    """
    (hidden,) = state
    size, seen = hidden.shape[1], hidden if exposed is None else exposed
    gates = inputs[:, : 2 * size] + seen @ weight_hidden[: 2 * size].T + bias_hidden[: 2 * size]
    reset, update = torch.sigmoid(gates).chunk(2, dim=1)
    product = (reset * seen) @ weight_hidden[2 * size :].T + bias_hidden[2 * size :]
    candidate = torch.tanh(inputs[:, 2 * size :] + product)
    return (torch.lerp(candidate, hidden, update),)


def gru_reset_before_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves the gates, r ⊙ h and h before each step."""
    size = across.shape[0]
    states, before = steps.history(products, size)
    scaled, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    across_gates, across_candidate = across[:, : 2 * size].contiguous(), across[:, 2 * size :].contiguous()
    views = (products[:, :, : 2 * size], *products.chunk(3, dim=2), scaled, before, states)
    for time, (gates, r, z, n, product, hidden, after) in steps.read(*views):
        gates.addmm_(hidden, across_gates).sigmoid_()
        n.addmm_(torch.mul(r, hidden, out=product), across_candidate)
        n.add_(n).sigmoid_()
        torch.add(minus_one, n, alpha=2, out=n)  # tanh x = 2 σ(2x) − 1: PyTorch's own is slow on a slice
        torch.lerp(n, hidden, z, out=after)
        steps.hold(time, after)
    return states, (products, scaled, before)


def gru_reset_before_backward(
    steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor
) -> Tensor:
    """Gradients before reset, update and candidate; see `CellKind.backward`."""
    products, _, before = saved
    size = states.shape[2]
    weight_gates, weight_candidate = weight[: 2 * size], weight[2 * size :]
    gradients = torch.empty_like(products)
    later, grad_scaled = torch.zeros_like(states[0]), torch.empty_like(states[0])
    for block in steps.blocks(states):
        reset, update, candidate = products[block].chunk(3, dim=2)
        factors = (
            sigmoid_backward(before[block], reset),
            sigmoid_backward(before[block] - candidate, update),
            tanh_backward(1 - update, candidate),
        )
        out = gradients[block]
        views = (grad_states[block], reset, update, out[:, :, : 2 * size], *out.chunk(3, dim=2), *factors)
        for time, (grad, r, z, gates, dr, dz, dn, to_r, to_z, to_n) in steps.unread(*views, block=block):
            grad_hidden = later.add_(grad)
            steps.hold(time, grad_hidden)
            torch.mm(torch.mul(grad_hidden, to_n, out=dn), weight_candidate, out=grad_scaled)
            torch.mul(grad_scaled, to_r, out=dr)
            torch.mul(grad_hidden, to_z, out=dz)
            later.mul_(z).addcmul_(grad_scaled, r).addmm_(gates, weight_gates)
    return gradients


def mgu_step(
    inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor, exposed: Tensor | None = None
) -> State:
    """One step of a minimal gated unit: one gate both resets and updates (Zhou, Wu, Zhang & Zhou 2016).

    inputs: (batch, 2 * hidden), gate, candidate;  state: (h,) of (batch, hidden). The paper's f is large where h is
    replaced: h = (1 − f) ⊙ h + f ⊙ candidate. exposed: what the products see of h, where dropout leaves a part of it.
    """
    (hidden,) = state
    size, seen = hidden.shape[1], hidden if exposed is None else exposed
    gate = torch.sigmoid(inputs[:, :size] + seen @ weight_hidden[:size].T + bias_hidden[:size])
    product = (gate * seen) @ weight_hidden[size:].T + bias_hidden[size:]
    return (torch.lerp(hidden, torch.tanh(inputs[:, size:] + product), gate),)


def mgu_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`. Saves gate and candidate, f ⊙ h and h before each step."""
    size = across.shape[0]
    states, before = steps.history(products, size)
    scaled, minus_one = torch.empty_like(states), products.new_tensor(-1.0)
    across_gate, across_candidate = across[:, :size].contiguous(), across[:, size:].contiguous()
    for time, (f, n, product, hidden, after) in steps.read(*products.chunk(2, dim=2), scaled, before, states):
        f.addmm_(hidden, across_gate).sigmoid_()
        n.addmm_(torch.mul(f, hidden, out=product), across_candidate)
        n.add_(n).sigmoid_()
        torch.add(minus_one, n, alpha=2, out=n)
        torch.lerp(hidden, n, f, out=after)
        steps.hold(time, after)
    return states, (products, scaled, before)


def mgu_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before gate and candidate; see `CellKind.backward`. The gate receives one from each of its two uses."""
    products, _, before = saved
    size = states.shape[2]
    gradients = torch.empty_like(products)
    later, grad_scaled = torch.zeros_like(states[0]), torch.empty_like(states[0])
    for block in steps.blocks(states):
        gate, candidate = products[block].chunk(2, dim=2)
        factors = (
            sigmoid_backward(candidate - before[block], gate),
            sigmoid_backward(before[block], gate),
            tanh_backward(gate, candidate),
        )
        views = (grad_states[block], gate, 1 - gate, *gradients[block].chunk(2, dim=2), *factors)
        for time, (grad, f, kept, df, dn, to_update, to_reset, to_n) in steps.unread(*views, block=block):
            grad_hidden = later.add_(grad)
            steps.hold(time, grad_hidden)
            torch.mm(torch.mul(grad_hidden, to_n, out=dn), weight[size:], out=grad_scaled)
            torch.mul(grad_hidden, to_update, out=df).addcmul_(grad_scaled, to_reset)
            later.mul_(kept).addcmul_(grad_scaled, f).addmm_(df, weight[:size])
    return gradients


GATED_STATE_CELLS = {
    "gru_reset_before": CellKind(
        gru_reset_before_step, gru_reset_before_forward, gru_reset_before_backward,
        columns=3, hidden_columns=((0, 2), (2, 3)), additive=3, gated=1, carries=True, compiled=True,
    ),
    "mgu": CellKind(
        mgu_step, mgu_forward, mgu_backward,
        columns=2, hidden_columns=((0, 1), (1, 2)), additive=2, gated=1, carries=True, compiled=True,
    ),
}  # fmt: skip
