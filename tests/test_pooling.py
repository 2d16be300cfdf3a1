"""Poolings are what they say of each text's own steps, in whichever order states lie in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.models.encoder import reverse_within
from bench.models.pooling import AttentionPooling, last_state, max_state, mean_state

LENGTHS = torch.tensor([5, 1, 7, 4])
SHAPE = (4, 7, 6)  # texts, steps, features

Pool = Callable[[Tensor, Tensor], Tensor]


def attention() -> AttentionPooling:
    torch.manual_seed(3)
    return AttentionPooling(SHAPE[2]).double()


POOLINGS: dict[str, Pool] = {
    "last": lambda states, lengths: last_state(states, lengths, bidirectional=False),
    "last of both directions": lambda states, lengths: last_state(states, lengths, bidirectional=True),
    "mean": mean_state,
    "max": max_state,
    "attention": attention(),
}


def states_of(order: str) -> Tensor:
    """Random states, by shape (batch, time, features), time-major or batch-major in memory."""
    states = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    in_memory = states.transpose(0, 1).contiguous().transpose(0, 1) if order == "time-major" else states
    return in_memory.requires_grad_()


def of_one_text(name: str, states: Tensor) -> Tensor:
    """The definition. states: (time, features), without padding."""
    half = SHAPE[2] // 2
    if name == "attention":
        pool = attention()
        return (pool.query(torch.tanh(pool.projection(states))).softmax(dim=0) * states).sum(dim=0)
    both = torch.cat([states[-1, :half], states[0, half:]])
    return {"last": states[-1], "last of both directions": both, "mean": states.mean(dim=0),
            "max": states.max(dim=0).values}[name]  # fmt: skip


@pytest.mark.parametrize("order", ["time-major", "batch-major"])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_sees_each_texts_own_steps(name: str, order: str) -> None:
    states = states_of(order)
    pooled = POOLINGS[name](states, LENGTHS)
    expected = torch.stack([of_one_text(name, states[i, :length]) for i, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-14)
    weights = torch.randn(pooled.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((pooled * weights).sum(), states)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), states)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-14)
    padding = torch.arange(SHAPE[1]) >= LENGTHS[:, None]
    assert (gradient[padding] == 0).all()


@pytest.mark.parametrize("name", ["last", "mean", "max"])
def test_a_gradient_lies_in_memory_as_the_states_do(name: str) -> None:
    for order in ("time-major", "batch-major"):
        states = states_of(order)
        seen: list[Tensor] = []
        watched = states * 1
        watched.register_hook(seen.append)
        POOLINGS[name](watched, LENGTHS).sum().backward()
        assert seen[0].stride() == states.stride()


@pytest.mark.parametrize("order", ["time-major", "batch-major"])
def test_reversing_twice_changes_nothing_and_gradients_go_back_the_same_way(order: str) -> None:
    states = states_of(order)
    torch.testing.assert_close(reverse_within(reverse_within(states, LENGTHS), LENGTHS), states, rtol=0, atol=0)
    assert torch.autograd.gradcheck(lambda values: reverse_within(values, LENGTHS), (states,))
