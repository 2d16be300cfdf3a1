"""Cells whose gates read the input alone: the state is a linear recurrence (Feng et al. 2024, arXiv 2410.01201).

h_t = a_t h_{t−1} + b_t: `*_gates` gives the decays a and what enters, b, of any number of steps from the products of
their inputs. One step is that equation; all steps at once are a parallel scan (`bench.models.kernels.scan`). There is
no recurrent matrix, and a second bias would only add to the first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.cells.kinds import CellKind, State


def mingru_gates(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A GRU without reset gate, whose update gate z and candidate forget the state: a = 1 − z, b = z h̃.

    inputs: (..., 2 * hidden), update gate and candidate. Here as in the paper z lets the candidate in, where PyTorch's
    GRU keeps the state by it. The candidate is not squashed.
    """
    update, candidate = inputs.chunk(2, dim=-1)
    update = torch.sigmoid(update)
    return 1 - update, update * candidate


def mingru_step(inputs: Tensor, state: State) -> State:
    """One step of a minGRU. inputs: (batch, 2 * hidden);  state: (h,) of (batch, hidden)."""
    decay, entry = mingru_gates(inputs)
    return (decay * state[0] + entry,)


def minlstm_gates(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM without cell state and output gate, its gates divided by their sum: a = f / (f + i), b = i / (f + i) h̃.

    inputs: (..., 3 * hidden), forget gate, input gate, candidate. i / (f + i) = σ(log i − log f), also where both gates
    are too small for a number.
    """
    forget, entry, candidate = inputs.chunk(3, dim=-1)
    admitted = torch.sigmoid(F.logsigmoid(entry) - F.logsigmoid(forget))
    return 1 - admitted, admitted * candidate


def minlstm_step(inputs: Tensor, state: State) -> State:
    """One step of a minLSTM. inputs: (batch, 3 * hidden);  state: (h,) of (batch, hidden)."""
    decay, entry = minlstm_gates(inputs)
    return (decay * state[0] + entry,)


MINIMAL_CELLS = {
    "mingru": CellKind(mingru_step, linear=mingru_gates),
    "minlstm": CellKind(minlstm_step, linear=minlstm_gates),
}
