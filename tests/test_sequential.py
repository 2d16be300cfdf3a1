"""Looks at growing numbers of seeds: published bounds, and error rates of whole ladders by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.analysis.decision import Ladder, Sample
from bench.analysis.sequential import (
    Looks,
    Spending,
    half_width,
    nominal_levels,
    repeated_p,
    spent,
    t_quantile,
)
from bench.errors import UserError

SPENDINGS: tuple[Spending, ...] = ("obrien_fleming", "power3", "power2", "pocock")
LADDERS: tuple[Looks, ...] = ((5, 10, 15, 20), (5, 8, 12, 16, 20), (3, 4, 6, 9))
STUDIES = 100_000


def misses(looks: Looks, alpha: float, spending: Spending) -> tuple[np.ndarray, float]:
    """Shares of simulated studies whose repeated interval first misses the truth at each look, and their 2 errors."""
    draws = np.random.default_rng(20).standard_normal((STUDIES, looks[-1]))
    sums, squares = draws.cumsum(axis=1), (draws**2).cumsum(axis=1)
    going, first = np.ones(STUDIES, bool), []
    for look, level in zip(looks, nominal_levels(looks, alpha, spending), strict=True):
        mean = sums[:, look - 1] / look
        sd = np.sqrt((squares[:, look - 1] - look * mean**2) / (look - 1))
        outside = np.abs(mean) > half_width(1.0, look, level) * sd
        first.append((going & outside).mean())
        going &= ~outside
    return np.array(first), 2 * math.sqrt(alpha * (1 - alpha) / STUDIES)


@pytest.mark.parametrize(
    ("spending", "bounds"),
    [
        ("obrien_fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
        ("pocock", (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_bounds_of_large_samples_are_the_published_ones(spending: Spending, bounds: tuple[float, ...]) -> None:
    """Lan & DeMets 1983, as tabulated for five equal looks and alpha 0.05; t is nearly normal at 200 seeds."""
    levels = nominal_levels((200, 400, 600, 800, 1000), 0.05, spending)
    assert [float(stats.norm.isf(level / 2)) for level in levels] == pytest.approx(bounds, abs=2e-3)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_all_of_alpha_is_spent_at_the_cap_and_nothing_before_the_start(spending: Spending) -> None:
    assert spent(0, 0.05, spending) == 0
    assert spent(1, 0.05, spending) == pytest.approx(0.05)
    shares = [spent(look / 20, 0.05, spending) for look in range(21)]
    assert all(earlier < later for earlier, later in pairwise(shares))


@pytest.mark.parametrize("spending", SPENDINGS)
def test_the_first_look_is_an_ordinary_test_at_what_is_spent_on_it(spending: Spending) -> None:
    assert nominal_levels((5, 10, 20), 0.05, spending)[0] == pytest.approx(spent(0.25, 0.05, spending))
    assert nominal_levels((12,), 0.05, spending) == pytest.approx((0.05,))


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("looks", LADDERS)
def test_the_whole_ladder_errs_at_alpha_with_few_seeds(looks: Looks, spending: Spending) -> None:
    """Not only in total: what is spent at each look is what was planned."""
    first, two_errors = misses(looks, 0.05, spending)
    planned = np.diff([0.0, *(spent(look / looks[-1], 0.05, spending) for look in looks)])
    assert first.sum() == pytest.approx(0.05, abs=two_errors)
    assert (np.abs(first - planned) <= 3 * np.sqrt(planned / STUDIES) + 0.0002).all()


def test_levels_of_normal_statistics_would_err_too_often_with_few_seeds() -> None:
    """Why the recursion is over t statistics: the textbook's levels for these looks, from normal ones."""
    looks, textbook = (5, 8, 11, 14, 17, 20), (0.00078, 0.00274, 0.00671, 0.01344, 0.02382, 0.03884)
    ours = nominal_levels(looks, 0.05, "power3")
    assert all(a <= b + 1e-5 for a, b in zip(ours, textbook, strict=True))
    assert ours[-1] < 0.97 * textbook[-1]


@pytest.mark.parametrize("spending", SPENDINGS)
def test_a_smaller_alpha_widens_every_look(spending: Spending) -> None:
    strict, usual = (nominal_levels((5, 10, 15, 20), alpha, spending) for alpha in (0.01, 0.05))
    assert all(a < b for a, b in zip(strict, usual, strict=True))
    assert all(level < 0.05 for level in usual)


def repeated(mean: float, sd: float, look: int, looks: Looks) -> tuple[float, float]:
    """Ends of the interval at one look, counted from 0."""
    interval = Ladder(looks, 0.05, "power3").interval(Sample(mean, sd, looks[look]), look + 1)
    return interval.low, interval.high


@given(
    mean=st.floats(-10, 10), sd=st.floats(0.01, 10), shift=st.floats(-10, 10), scale=st.floats(0.1, 10),
    look=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_repeated_intervals_move_and_stretch_with_the_data(
    mean: float, sd: float, shift: float, scale: float, look: int
) -> None:
    looks = (5, 10, 15, 20)
    low, high = repeated(mean, sd, look, looks)
    moved = repeated(mean * scale + shift, sd * scale, look, looks)
    assert moved == pytest.approx((low * scale + shift, high * scale + shift), abs=1e-9)
    assert low < mean < high


def test_repeated_intervals_shrink_from_look_to_look() -> None:
    ends = [repeated(0.0, 1.0, look, (5, 10, 15, 20))[1] for look in range(4)]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] > stats.t.isf(0.025, 19) / math.sqrt(20)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("look", range(4))
def test_p_is_the_alpha_at_which_the_interval_just_excludes(spending: Spending, look: int) -> None:
    looks = (5, 10, 15, 20)
    for alpha in (1e-6, 0.003, 0.05, 0.3):
        level = nominal_levels(looks, alpha, spending)[look]
        assert repeated_p(level, look, looks, spending) == pytest.approx(alpha, rel=1e-2)


def test_p_grows_with_the_nominal_p_and_stays_between_its_ends() -> None:
    p = [repeated_p(nominal, 2, (5, 10, 15, 20), "power3") for nominal in (0.0, 1e-12, 1e-4, 0.01, 0.2, 0.9, 2.0)]
    assert p == sorted(p)
    assert p[0] == pytest.approx(1e-10)
    assert p[-1] == 1


@pytest.mark.parametrize("degrees", [1, 4, 19, 200])
@pytest.mark.parametrize("level", [1e-12, 1e-5, 0.01, 0.05, 0.6])
def test_t_quantiles_are_those_of_scipy(degrees: int, level: float) -> None:
    assert t_quantile(degrees, level) == pytest.approx(stats.t.isf(level / 2, degrees), rel=1e-8)


def test_levels_are_the_same_on_repetition() -> None:
    once = nominal_levels((5, 9, 14), 0.05, "power2")
    nominal_levels.cache_clear()
    assert nominal_levels((5, 9, 14), 0.05, "power2") == once


def test_more_seeds_than_looks_can_be_planned_for_are_refused() -> None:
    with pytest.raises(UserError, match="several looks can be planned for up to 1,000 seeds, not 5,000"):
        nominal_levels((10, 5000), 0.05, "power3")
    assert nominal_levels((5000,), 0.05, "power3") == pytest.approx((0.05,))
