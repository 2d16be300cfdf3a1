"""From the states of all steps to one vector per text; states at padding are finite and never count.

States of recurrent layers lie time-major in memory, and so do the gradients that the poolings hand back to them:
neither direction copies them into another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def valid_steps(lengths: Tensor, time: int) -> Tensor:
    """(batch, time) bool, true where a text still has a token. lengths: (batch,)."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def last_state(states: Tensor, lengths: Tensor, bidirectional: bool) -> Tensor:
    """What each direction holds after its last step: the forward one at the text's end, the backward one at its start.

    states: (batch, time, features) → (batch, features).
    """
    last = states_at(states, (lengths - 1)[:, None].expand(-1, states.shape[2]))
    if not bidirectional:
        return last
    half = states.shape[2] // 2
    return torch.cat([last[:, :half], states[:, 0, half:]], dim=1)


def mean_state(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean over valid steps. (batch, time, features) → (batch, features)."""
    return weighted_sum(states, valid_steps(lengths, states.shape[1]).to(states.dtype)) / lengths[:, None]


def max_state(states: Tensor, lengths: Tensor) -> Tensor:
    """The largest value of each feature over valid steps. (batch, time, features) → (batch, features).

    Where several steps share it, the gradient goes to one of them.
    """
    valid = valid_steps(lengths, states.shape[1])
    shift = torch.zeros_like(valid, dtype=states.dtype).masked_fill_(~valid, -torch.inf)
    with torch.no_grad():
        places = (states + shift[:, :, None]).max(dim=1).indices
    return states_at(states, places)


class AttentionPooling(nn.Module):
    """A weighted mean over valid steps, weights softmax(vᵀ tanh(W h + b)) (Yang et al. 2016)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, features)
        self.query = nn.Linear(features, 1, bias=False)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, features) → (batch, features)."""
        scores = self.query(torch.tanh(self.projection(states.transpose(0, 1)))).squeeze(2).T
        weights = scores.masked_fill(~valid_steps(lengths, states.shape[1]), -torch.inf).softmax(dim=1)
        return weighted_sum(states, weights.to(states.dtype))


def weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Σ_t w_t h_t of each text. states: (batch, time, features), weights: (batch, time) → (batch, features)."""
    total: Tensor = _WeightedSum.apply(states, weights)  # type: ignore[no-untyped-call]
    return total


def states_at(states: Tensor, steps: Tensor) -> Tensor:
    """For each text and feature, the state after one step. steps: (batch, features) int64 → (batch, features)."""
    chosen: Tensor = _StatesAt.apply(states, steps)  # type: ignore[no-untyped-call]
    return chosen


class _WeightedSum(Function):
    """No weighted copy of the states is made in either direction."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(states, weights)
        with torch.autocast(states.device.type, enabled=False):
            return torch.bmm(weights[:, None], states).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        states, weights = ctx.saved_tensors
        (gradient,) = gradients
        for_states = torch.mul(weights[:, :, None], gradient[:, None], out=torch.empty_like(states))
        for_weights = torch.bmm(states, gradient[:, :, None]).squeeze(2) if ctx.needs_input_grad[1] else None
        return for_states, for_weights


class _StatesAt(Function):
    """The gradient is zero but for those states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, steps: Tensor) -> Tensor:
        ctx.save_for_backward(states, steps)
        return states.gather(1, steps[:, None]).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        states, steps = ctx.saved_tensors
        return torch.zeros_like(states).scatter_(1, steps[:, None], gradients[0][:, None]), None
