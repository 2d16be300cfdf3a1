"""The parallel scan is the sequential recurrence: states, gradients, both directions, any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.models.kernels.scan import _forward as computed
from bench.models.kernels.scan import scan, scan_in_blocks
from tests.operators import Operators

BOTH_DIRECTIONS = pytest.mark.parametrize("reverse", [False, True])


def one_by_one(decay: Tensor, entry: Tensor, *, reverse: bool = False) -> Tensor:
    """The recurrence as it is written, under autograd."""
    state, states = torch.zeros_like(entry[0]), {}
    for time in range(len(entry))[:: -1 if reverse else 1]:
        state = decay[time] * state + entry[time]
        states[time] = state
    return torch.stack([states[time] for time in range(len(entry))])


def drawn(time: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Decays between 0 and 1, entries, and a gradient of the states, in float64."""
    draw = torch.Generator().manual_seed(1000 * time + seed)
    decay = torch.rand(time, *shape, generator=draw, dtype=torch.float64)
    entry, gradient = (torch.randn(time, *shape, generator=draw, dtype=torch.float64) for _ in range(2))
    return decay, entry, gradient


def results(how: Callable[..., Tensor], decay: Tensor, entry: Tensor, gradient: Tensor, reverse: bool) -> list[Tensor]:
    """States, then the gradients of decays and entries."""
    given = [decay.clone().requires_grad_(), entry.clone().requires_grad_()]
    states = how(*given, reverse=reverse)
    return [states.detach(), *torch.autograd.grad(states, given, gradient)]


@settings(max_examples=150, deadline=None)
@given(time=st.integers(1, 70), batch=st.integers(1, 3), hidden=st.integers(1, 4), reverse=st.booleans())
def test_states_and_gradients_equal_the_loops(time: int, batch: int, hidden: int, reverse: bool) -> None:
    given = drawn(time, batch, hidden)
    ours, expected = (results(how, *given, reverse) for how in (scan, one_by_one))
    assert expected[1].abs().sum() > 0 or time == 1
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@BOTH_DIRECTIONS
@pytest.mark.parametrize("time", [255, 512, 1001])
def test_long_texts_equal_the_loops(time: int, reverse: bool) -> None:
    decay, entry, gradient = drawn(time, 2, 3)
    given = 1 - decay / 100, entry, gradient  # long memories: nothing has died away when a block is added to the next
    ours, expected = (results(how, *given, reverse) for how in (scan, one_by_one))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-10)


@BOTH_DIRECTIONS
@pytest.mark.parametrize("block", [1, 2, 5, 12, 36, 37])
def test_blocks_of_any_length_give_the_same_states(block: int, reverse: bool) -> None:
    decay, entry, _ = drawn(37, 2, 3)
    found = scan_in_blocks(decay, entry, reverse, block)
    torch.testing.assert_close(found, one_by_one(decay, entry, reverse=reverse), rtol=0, atol=1e-12)


@BOTH_DIRECTIONS
@pytest.mark.parametrize("time", [1, 2, 50])
def test_wide_steps_equal_the_loops(time: int, reverse: bool) -> None:
    given = drawn(time, 20, 300)
    ours, expected = (results(how, *given, reverse) for how in (scan, one_by_one))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@BOTH_DIRECTIONS
def test_gradients_are_the_derivative(reverse: bool) -> None:
    decay, entry, _ = drawn(11, 2, 2)
    assert torch.autograd.gradcheck(
        lambda a, b: scan(a, b, reverse=reverse), (decay.requires_grad_(), entry.requires_grad_())
    )


@BOTH_DIRECTIONS
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_decays_that_forget_all_or_nothing_are_exact(decay: float, reverse: bool) -> None:
    entry = torch.arange(1.0, 41.0, dtype=torch.float64)[:, None, None]
    states = scan(torch.full_like(entry, decay), entry, reverse=reverse)
    summed = entry.flip(0).cumsum(0).flip(0) if reverse else entry.cumsum(0)
    assert torch.equal(states, summed if decay else entry)


def test_single_precision_stays_finite_where_logarithms_would_not() -> None:
    decay = torch.full((600, 1, 1), 1e-30)  # the product of all is 10^-18000
    entry = torch.ones(600, 1, 1)
    states, *gradients = results(scan, decay, entry, torch.ones(600, 1, 1), False)
    torch.testing.assert_close(states, entry)
    torch.testing.assert_close(gradients[1], entry)


@BOTH_DIRECTIONS
def test_a_state_depends_on_what_was_read_and_on_nothing_later(reverse: bool) -> None:
    decay, entry, _ = drawn(37, 1, 1)
    before = scan(decay, entry, reverse=reverse)
    for place in range(37):
        other = entry.clone()
        other[place] = 1e9
        changed = (scan(decay, other, reverse=reverse) != before).flatten().nonzero().flatten()
        assert int(changed.max() if reverse else changed.min()) == place


def test_a_profile_shows_that_a_scan_ran() -> None:
    decay, entry, gradient = drawn(9, 1, 1)
    with Operators() as seen:
        results(scan, decay, entry, gradient, False)
    assert [name for name in seen.names if name.startswith("scan")] == ["scan_forward", "scan_backward"]


def test_operators_in_a_row_grow_with_the_square_root_of_the_length() -> None:
    def count(time: int) -> int:
        decay, entry, _ = drawn(time, 1, 1)
        with Operators() as seen:
            computed(decay, entry, False)
        return sum(name in ("addcmul", "addcmul_", "mul") for name in seen.names)

    assert 10 < count(100) < 50  # a loop has 100
    assert 100 < count(10_000) < 450


def test_a_second_derivative_is_refused() -> None:
    decay, entry, _ = drawn(5, 1, 1)
    entry.requires_grad_()
    (gradient,) = torch.autograd.grad(scan(decay, entry).square().sum(), entry, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_gives_the_same_states_and_keeps_nothing(mode: Callable[[], Any]) -> None:
    decay, entry, _ = drawn(20, 2, 2)
    trained = scan(decay, entry.clone().requires_grad_())
    with mode():
        evaluated = scan(decay, entry)
    assert trained.requires_grad
    assert evaluated.grad_fn is None
    assert torch.equal(trained.detach(), evaluated)
