"""Dropout is an honest draw from torch's stream, whatever it costs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.models.dropout import Dropout, draw_kept

SIZE = 400_000
DEVIATIONS = 5  # a fair draw lies outside once in two million times


def keep_mask(like: Tensor, p: float) -> Tensor:
    return draw_kept(like.numel(), p).mask(like)


def dropped(p: float, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(seed)
    return keep_mask(torch.empty(SIZE, dtype=dtype), p) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.5, 0.25, 0.1, 0.3, 0.999])
def test_each_value_is_dropped_with_probability_p(p: float, dtype: torch.dtype) -> None:
    deviation = math.sqrt(SIZE * p * (1 - p))
    assert abs(int(dropped(p, 1, dtype).sum()) - SIZE * p) < DEVIATIONS * deviation


@pytest.mark.parametrize("p", [0.5, 0.1])
@pytest.mark.parametrize("distance", [1, 2, 3, 4, 7, 8, 64, 6_400])
def test_values_are_dropped_independently_of_others_near_and_far(p: float, distance: int) -> None:
    mask = dropped(p, 2)
    both = int((mask[distance:] & mask[:-distance]).sum())
    pairs, share = SIZE - distance, p * p
    assert abs(both - pairs * share) < DEVIATIONS * math.sqrt(3 * pairs * share)  # neighbouring pairs share a value


def test_one_mask_follows_from_the_state_of_the_stream_and_differs_from_the_next() -> None:
    torch.manual_seed(7)
    values = torch.ones(1_000)
    first, second = keep_mask(values, 0.5), keep_mask(values, 0.5)
    torch.manual_seed(7)
    assert torch.equal(keep_mask(values, 0.5), first)
    agreeing = int((first == second).sum())
    assert abs(agreeing - 500) < DEVIATIONS * math.sqrt(250)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(p: float) -> None:
    values = torch.randn(SIZE, dtype=torch.float64) + 1
    torch.manual_seed(3)
    kept = Dropout(p)(values)
    survivors = kept != 0
    torch.testing.assert_close(kept[survivors], values[survivors] / (1 - p), rtol=2e-5, atol=0)
    assert abs(float(kept.mean()) - 1) < 0.02


def test_a_gradient_passes_where_a_value_did() -> None:
    values = torch.ones(3, 50, 4, requires_grad=True)
    kept = Dropout(0.4)(values)
    kept.sum().backward()
    assert torch.equal(values.grad, kept)  # type: ignore[arg-type]
    assert 0 < int((kept == 0).sum()) < kept.numel()


def test_without_training_or_probability_nothing_is_drawn() -> None:
    torch.manual_seed(4)
    before, values = torch.random.get_rng_state(), torch.randn(5)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values
    torch.manual_seed(4)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_states_that_lie_time_major_stay_so() -> None:
    values = torch.randn(6, 3, 2).transpose(0, 1)
    assert Dropout(0.5)(values).stride() == values.stride()
