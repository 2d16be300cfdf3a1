"""The recurrent cells: their equations, how they are executed by hand, and how PyTorch names and stores them.

Their differences are the subject of this project, so they stand side by side here. `*_step` computes one step from the
products of the input (`inputs`, all gates side by side, input bias included) and the state; gates are in PyTorch's
order. PyTorch's own modules execute these equations (`kernel=torch`), and so do two functions by hand (`kernel=step`):
`*_forward` reads all steps with few operators each, `*_backward` is its derivative. In the latter, a *factor* is what
does not depend on gradients, so that it is computed for a block of steps at once; σ' = σ(1 − σ) and tanh' = 1 − tanh²
multiply what PyTorch's `sigmoid_backward` and `tanh_backward` are given. The tests hold all of them against each other.

A new cell is its equation, two functions by hand, one entry in `CELLS`, and its number of gates in `sizes.GATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.models.kernels.steps import Steps

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Tensor, Tensor], State]
Saved = tuple[Tensor, ...]
Forward = Callable[[Steps, Tensor, Tensor, Tensor], tuple[Tensor, Saved]]
Backward = Callable[[Steps, Tensor, Tensor, Saved, Tensor], Tensor]
_sigmoid_backward, _tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


def rnn_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of a simple recurrent network (Elman 1990).

    inputs: (batch, hidden) = x W_ih^T + b_ih;  state: (h,) of (batch, hidden);  weight_hidden: (hidden, hidden).
    """
    (hidden,) = state
    return (torch.tanh(inputs + hidden @ weight_hidden.T + bias_hidden),)


def rnn_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, Saved]:
    """All steps by hand; see `CellKind.forward`."""
    states, before = steps.history(products, across.shape[0])
    for time, (gate, hidden, after) in steps.read(products, before, states):
        torch.tanh(gate.addmm_(hidden, across), out=after)
        steps.hold(time, after)
    return states, ()


def rnn_backward(steps: Steps, grad_states: Tensor, states: Tensor, saved: Saved, weight: Tensor) -> Tensor:
    """Gradients before the gate: dh tanh'; see `CellKind.backward`."""
    gradients = torch.empty_like(states)
    later = torch.zeros_like(states[0])
    for time, (grad, state, gate) in steps.unread(grad_states, states, gradients):
        grad_hidden = torch.addmm(grad, later, weight)
        steps.hold(time, grad_hidden)
        later = _tanh_backward.grad_input(grad_hidden, state, grad_input=gate)
    return gradients


def gru_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of a GRU with the reset gate applied after the product (Cho et al. 2014, v1; cuDNN, PyTorch).

    inputs: (batch, 3 * hidden), gates reset, update, candidate;  state: (h,) of (batch, hidden).
    """
    (hidden,) = state
    reset_hidden, update_hidden, candidate_hidden = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=1)
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
    views = (gates, reset, update, candidate, hidden_products, before, states)
    for time, (gate, r, z, n, product, hidden, after) in steps.read(*views):
        gate.addmm_(hidden, across_gates).sigmoid_()
        torch.addmm(bias, hidden, across_candidate, out=product)
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
        to_candidate = _tanh_backward(1 - update, candidate)
        to_reset = _sigmoid_backward(to_candidate * hidden_products[block], reset)
        to_update = _sigmoid_backward(before[block] - candidate, update)
        factors = (to_reset, to_update, to_candidate, to_candidate * reset)
        out = gradients[block]
        views = (grad_states[block], update, out[:, :, : 2 * size], *out.chunk(4, dim=2), *factors)
        for time, (grad, z, gates, *parts) in steps.unread(*views, block=block):
            grad_hidden = later.add_(grad)
            steps.hold(time, grad_hidden)
            for gradient, factor in zip(parts[:4], parts[4:], strict=True):
                torch.mul(grad_hidden, factor, out=gradient)
            later.mul_(z).addmm_(gates, weight_gates).addmm_(parts[3], weight_candidate)
    return gradients


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
            _sigmoid_backward(candidate, entry),
            _sigmoid_backward(before[block], forget),
            _tanh_backward(entry, candidate),
            _sigmoid_backward(squashed[block], output),
            _tanh_backward(output, squashed[block]),
        )
        out = gradients[block]
        views = (grad_states[block], forget, out, *out.chunk(4, dim=2), *factors)
        for time, (grad, f, gates, di, df, dg, do, to_i, to_f, to_g, to_o, to_c) in steps.unread(*views, block=block):
            grad_hidden = torch.addmm(grad, later, weight)
            steps.hold(time, grad_hidden, grad_carousel)
            grad_carousel.addcmul_(grad_hidden, to_c)
            torch.mul(grad_carousel, to_i, out=di)
            torch.mul(grad_carousel, to_f, out=df)
            torch.mul(grad_carousel, to_g, out=dg)
            torch.mul(grad_hidden, to_o, out=do)
            grad_carousel.mul_(f)
            later = gates
    return gradients


@dataclass(frozen=True)
class CellKind:
    """What the rest of the program needs to know of a cell.

    step: the equations.
    forward: all steps by hand, from the products of the inputs (time, batch, gates · hidden), which it overwrites,
        across = W_hh^T (hidden, gates · hidden), and the part of b_hh that is not in the products already. Returns all
        states and what `backward` wants.
    backward: from the gradients of all states (time, batch, hidden), the states, what was saved, and W_hh, the
        gradients before the gates, (time, batch, columns · hidden); the first `gates` columns are the products'.
    module: PyTorch's execution of the equations.
    columns: blocks of hidden size that `backward` returns.
    hidden_columns: those (first, end) that hold the gradients of h W_hh^T + b_hh.
    additive: leading gates in which the products of input and state are simply added.
    forget_gate: its position among the gates, if any.
    compiled: whether the native recurrence (kernels/recurrence.cpp) knows it, too.
    """

    step: Step
    forward: Forward
    backward: Backward
    module: Callable[..., nn.RNNBase]
    columns: int
    hidden_columns: tuple[tuple[int, int], ...]
    additive: int
    forget_gate: int | None = None
    compiled: bool = False


CELLS: dict[str, CellKind] = {
    "rnn": CellKind(
        rnn_step, rnn_forward, rnn_backward,
        module=nn.RNN, columns=1, hidden_columns=((0, 1),), additive=1, compiled=True,
    ),
    "gru": CellKind(
        gru_step, gru_forward, gru_backward,
        module=nn.GRU, columns=4, hidden_columns=((0, 2), (3, 4)), additive=2, compiled=True,
    ),
    "lstm": CellKind(
        lstm_step, lstm_forward, lstm_backward,
        module=nn.LSTM, columns=4, hidden_columns=((0, 4),), additive=4, forget_gate=1, compiled=True,
    ),
}  # fmt: skip


@torch.no_grad()
def initialise(layer: nn.Module, kind: CellKind, forget_bias: float | None, generator: torch.Generator) -> None:
    """Orthogonal recurrent blocks (Saxe et al. 2014), Glorot-uniform input blocks (Glorot & Bengio 2010), biases zero.

    layer: one direction of one layer. Each gate's block is initialised by itself. PyTorch adds two biases: the forget
    gate's initial bias (Jozefowicz et al. 2015) goes on the input's, the other one is zero.
    """
    weights = dict(layer.named_parameters())
    gates = weights["weight_hh_l0"].shape[0] // weights["weight_hh_l0"].shape[1]
    for block in weights["weight_ih_l0"].chunk(gates):
        nn.init.xavier_uniform_(block, generator=generator)
    for block in weights["weight_hh_l0"].chunk(gates):
        nn.init.orthogonal_(block, generator=generator)
    weights["bias_ih_l0"].zero_()
    weights["bias_hh_l0"].zero_()
    if forget_bias is not None and kind.forget_gate is not None:
        weights["bias_ih_l0"].chunk(gates)[kind.forget_gate].fill_(forget_bias)
