"""The recurrent cells: their equations, and how PyTorch names and stores them.

Their differences are the subject of this project, so they stand side by side here. Every function computes one step
from the products of the input (`inputs`, all gates side by side, input bias included) and the state; gates are in
PyTorch's order. PyTorch's own modules execute them (`kernel=torch`); the tests hold both against each other.

A new cell is one step function, one entry in `CELLS`, and its number of gates in `sizes.GATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Tensor, Tensor], State]


def rnn_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of a simple recurrent network (Elman 1990).

    inputs: (batch, hidden) = x W_ih^T + b_ih;  state: (h,) of (batch, hidden);  weight_hidden: (hidden, hidden).
    """
    (hidden,) = state
    return (torch.tanh(inputs + hidden @ weight_hidden.T + bias_hidden),)


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


def lstm_step(inputs: Tensor, state: State, weight_hidden: Tensor, bias_hidden: Tensor) -> State:
    """One step of an LSTM with forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000).

    inputs: (batch, 4 * hidden), gates input, forget, cell, output;  state: (h, c), each (batch, hidden).
    """
    hidden, carousel = state
    gates = inputs + hidden @ weight_hidden.T + bias_hidden
    entry, forget, candidate, output = gates.chunk(4, dim=1)
    carousel = torch.sigmoid(forget) * carousel + torch.sigmoid(entry) * torch.tanh(candidate)
    return torch.sigmoid(output) * torch.tanh(carousel), carousel


@dataclass(frozen=True)
class CellKind:
    """What the rest of the program needs to know of a cell.

    step: the equations;  module: PyTorch's execution of them;  forget_gate: its position among the gates, if any.
    """

    step: Step
    module: Callable[..., nn.RNNBase]
    forget_gate: int | None = None


CELLS: dict[str, CellKind] = {
    "rnn": CellKind(rnn_step, module=nn.RNN),
    "gru": CellKind(gru_step, module=nn.GRU),
    "lstm": CellKind(lstm_step, module=nn.LSTM, forget_gate=1),
}


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
