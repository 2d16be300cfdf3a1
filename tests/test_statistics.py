"""Intervals and tests: equal to scipy, statsmodels and baycomp, to closed forms, and right as often as they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from bench.analysis import statistics
from bench.analysis.statistics import Bounds

STUDIES = 2**14
FIRST = np.array([81.2, 80.4, 82.0, 81.1, 79.9, 80.7])
SECOND = np.array([81.9, 80.3, 82.4, 82.2, 80.0, 81.6])
DELTAS = SECOND - FIRST
SAMPLE = float(DELTAS.mean()), float(DELTAS.std(ddof=1)), len(DELTAS)


def right_as_often_as(confidence: float, covered: np.ndarray) -> bool:
    """Within two Monte-Carlo standard errors."""
    return bool(abs(covered.mean() - confidence) <= 2 * math.sqrt(confidence * (1 - confidence) / covered.size))


def studies(mean: float, sd: float, n: int) -> np.ndarray:
    """Normal samples (studies, n), spread evenly (Sobol's sequence): shares of them vary less than by chance."""
    return mean + sd * stats.norm.ppf(stats.qmc.Sobol(n, rng=np.random.default_rng(3)).random(STUDIES))


def samples(mean: float, sd: float, n: int) -> list[tuple[float, float, int]]:
    draws = studies(mean, sd, n)
    return [(float(m), float(s), n) for m, s in zip(draws.mean(axis=1), draws.std(axis=1, ddof=1), strict=True)]


def crossed(seeds: int, texts: int, draw: np.random.Generator, luck: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Correctness of two equal arms: (seeds, texts). Texts differ in difficulty for each arm, runs in luck."""
    shape = (2, seeds, texts)
    skill = 1 + draw.normal(0, 0.6, (2, 1, texts)) + draw.normal(0, luck, (2, seeds, 1))
    first, second = draw.normal(0, 1, shape) < skill
    return first, second


# -- means ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_paired_interval_is_that_of_scipy(alpha: float) -> None:
    expected = stats.ttest_rel(SECOND, FIRST).confidence_interval(1 - alpha)
    assert statistics.t_interval(*SAMPLE, alpha) == pytest.approx((expected.low, expected.high))


def test_one_sided_bounds_are_those_of_scipy() -> None:
    above = stats.ttest_rel(SECOND, FIRST, alternative="greater").confidence_interval(0.95)
    below = stats.ttest_rel(SECOND, FIRST, alternative="less").confidence_interval(0.95)
    assert statistics.one_sided_bounds(*SAMPLE, 0.05) == pytest.approx((above.low, below.high))


@pytest.mark.parametrize("bound", [-1.0, 0.0, 0.5])
def test_one_sided_p_is_that_of_scipy(bound: float) -> None:
    expected = stats.ttest_1samp(DELTAS, bound, alternative="greater").pvalue
    assert statistics.one_sided_p(*SAMPLE, bound) == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.25, 0.6, 1.0, 2.0])
def test_tost_is_that_of_statsmodels(margin: float) -> None:
    assert statistics.tost_p(*SAMPLE, margin) == pytest.approx(ttost_paired(SECOND, FIRST, -margin, margin)[0])


@pytest.mark.parametrize("margin", [0.25, 0.6, 1.0])
def test_the_posterior_is_that_of_baycomp(margin: float) -> None:
    from baycomp.single import Posterior

    mean, sd, n = SAMPLE
    below, within, above = Posterior(mean, sd**2 / n, n - 1, rope=margin).probs()
    ours = statistics.posterior(*SAMPLE, margin)
    assert (ours.below, ours.within, ours.above) == pytest.approx((below, within, above))


def test_equal_differences_make_tests_certain() -> None:
    assert statistics.tost_p(0.4, 0.0, 5, 1.0) == 0
    assert statistics.tost_p(1.0, 0.0, 5, 1.0) == 1
    assert statistics.posterior(1.4, 0.0, 5, 1.0) == statistics.Posterior(within=0, above=1, below=0)
    assert statistics.t_interval(0.4, 0.0, 5) == (0.4, 0.4)


def test_a_ratio_is_that_of_geometric_means() -> None:
    baseline, alternative = np.array([10.0, 12.0, 11.0]), np.array([20.0, 22.0, 25.0])
    ratio, low, high = statistics.ratio_interval(np.log(baseline / alternative))
    assert ratio == pytest.approx(stats.gmean(baseline) / stats.gmean(alternative))
    logs = stats.ttest_rel(np.log(baseline), np.log(alternative)).confidence_interval(0.95)
    assert (low, high) == pytest.approx((math.exp(logs.low), math.exp(logs.high)))


finite = st.floats(-50, 50)


@given(mean=finite, sd=st.floats(0.01, 20), n=st.integers(2, 200), shift=finite, scale=st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_intervals_move_and_stretch_with_the_data_and_shrink_with_n(
    mean: float, sd: float, n: int, shift: float, scale: float
) -> None:
    low, high = statistics.t_interval(mean, sd, n)
    moved = statistics.t_interval(mean * scale + shift, sd * scale, n)
    assert moved == pytest.approx((low * scale + shift, high * scale + shift), rel=1e-9, abs=1e-7)
    more = statistics.t_interval(mean, sd, n + 1)
    assert low < more[0] < mean < more[1] < high


@given(mean=finite, sd=st.floats(0.01, 20), n=st.integers(2, 50), margin=st.floats(0.1, 30))
@settings(max_examples=60, deadline=None)
def test_tost_rejects_exactly_when_the_bounds_lie_within_the_margins(
    mean: float, sd: float, n: int, margin: float
) -> None:
    low, high = statistics.one_sided_bounds(mean, sd, n, 0.05)
    p = statistics.tost_p(mean, sd, n, margin)
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (-margin < low and high < margin)
    chances = statistics.posterior(mean, sd, n, margin)
    assert chances.within + chances.above + chances.below == pytest.approx(1)


@pytest.mark.parametrize("n", [3, 8])
def test_intervals_of_a_mean_cover_it_as_often_as_they_say(n: int) -> None:
    drawn = samples(0.7, 1.3, n)
    two = np.array([statistics.t_interval(*sample, 0.1) for sample in drawn])
    assert right_as_often_as(0.9, (two[:, 0] < 0.7) & (two[:, 1] > 0.7))
    one = np.array([statistics.one_sided_bounds(*sample, 0.05) for sample in drawn])
    assert right_as_often_as(0.95, one[:, 0] < 0.7)
    assert right_as_often_as(0.95, one[:, 1] > 0.7)


def test_tost_errs_as_often_as_it_says_at_the_margin() -> None:
    p = np.array([statistics.tost_p(*sample, 1.0) for sample in samples(1.0, 0.4, 6)])
    assert right_as_often_as(0.05, p < 0.05)


def test_intervals_of_a_ratio_cover_it_as_often_as_they_say() -> None:
    intervals = np.array([statistics.ratio_interval(logs) for logs in studies(math.log(0.8), 0.3, 5)])
    assert right_as_often_as(0.95, (intervals[:, 1] < 0.8) & (intervals[:, 2] > 0.8))


# -- texts ------------------------------------------------------------------------------------------------------------


def discordant(one: int, other: int, agreeing: int = 30) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, False, True], [one, other, agreeing])
    second = np.repeat([False, True, True], [one, other, agreeing])
    return first, second


def test_mcnemar_gives_the_published_mid_p() -> None:
    """The worked example of Fagerland et al. 2013: 1 and 7 discordant pairs among 21 children, mid-p 0.0391."""
    result = statistics.mcnemar(*discordant(1, 7))
    assert (result.only_first, result.only_second) == (1, 7)
    assert result.p == pytest.approx(0.0391, abs=5e-5)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 5), (3, 3), (12, 30), (200, 260)])
def test_mid_p_is_the_exact_p_less_the_point_probability(one: int, other: int) -> None:
    exact = exact_mcnemar([[0, one], [other, 0]], exact=True).pvalue if one + other else 1.0
    point = math.comb(one + other, one) / 2 ** (one + other)
    expected = exact - point if one != other else 1 - point / 2
    assert statistics.mcnemar(*discordant(one, other)).p == pytest.approx(expected)
    assert statistics.mcnemar(*discordant(other, one)).p == pytest.approx(expected)


def test_mcnemar_of_several_seeds_is_one_test_a_seed() -> None:
    first, second = crossed(3, 400, np.random.default_rng(1))
    results = statistics.mcnemar_by_seed(first, second)
    assert [r.p for r in results] == [statistics.mcnemar(a, b).p for a, b in zip(first, second, strict=True)]
    assert len({r.p for r in results}) == 3


def test_the_test_sets_standard_error_is_that_of_paired_texts() -> None:
    first, second = crossed(4, 300, np.random.default_rng(2))
    expected = stats.sem(second.mean(axis=0) - first.mean(axis=0))
    assert statistics.test_set_standard_error(first, second) == pytest.approx(expected)


def test_the_test_sets_standard_error_is_what_new_texts_change() -> None:
    draw = np.random.default_rng(5)
    drawn = [crossed(2, 250, draw, luck=0) for _ in range(2000)]
    moved = np.std([second.mean() - first.mean() for first, second in drawn])
    told = np.mean([statistics.test_set_standard_error(first, second) for first, second in drawn])
    assert moved == pytest.approx(told, rel=2 / math.sqrt(2 * len(drawn)))


def population_of(seeds: int, texts: int, alpha: float) -> np.ndarray:
    draw = np.random.default_rng(6)
    return np.array([statistics.population_interval(*crossed(seeds, texts, draw), alpha) for _ in range(2000)])


@pytest.mark.parametrize(("seeds", "texts"), [(5, 200), (10, 100)])
def test_population_intervals_cover_new_seeds_and_texts_at_least_as_often_as_they_say(seeds: int, texts: int) -> None:
    intervals = population_of(seeds, texts, 0.1)
    covered = ((intervals[:, 0] < 0) & (intervals[:, 1] > 0)).mean()
    assert 0.9 - 2 * math.sqrt(0.09 / 2000) <= covered <= 0.94


def test_population_intervals_are_wider_than_those_of_seeds_or_texts_alone() -> None:
    first, second = crossed(5, 300, np.random.default_rng(7))
    low, high = statistics.population_interval(first, second)
    by_seed = second.mean(axis=1) - first.mean(axis=1)
    assert low < by_seed.mean() < high
    texts = 1.96 * statistics.test_set_standard_error(first, second)
    assert (high - low) / 2 > texts
    assert (high - low) / 2 > 1.96 * stats.sem(by_seed)


# -- planning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha", "power"), [(5, 0.05, 0.8), (20, 0.04, 0.9), (8, 0.002, 0.5)])
def test_the_detectable_distance_is_that_of_statsmodels(n: int, alpha: float, power: float) -> None:
    expected = TTestPower().solve_power(nobs=n, alpha=alpha / 2, power=power, alternative="larger")
    detectable = statistics.minimum_detectable(1.7, n, alpha, power)
    assert detectable == pytest.approx(1.7 * expected, rel=1e-4)
    assert statistics.power_beyond(detectable, 1.7, n, alpha) == pytest.approx(power)


@pytest.mark.parametrize("distance", [0.05, 0.3, 1.0, 4.0])
def test_the_seeds_needed_are_the_fewest_that_reach_the_power(distance: float) -> None:
    n = statistics.seeds_needed(distance, 1.0)
    assert n is not None
    power = TTestPower().power(distance, np.array([n - 1, n]), 0.025, alternative="larger")
    assert power[1] >= 0.8
    assert n == 2 or power[0] < 0.8


def test_seeds_for_equivalence_reach_the_power_for_both_margins() -> None:
    n = statistics.seeds_needed(1.0, 1.2, other=1.0)
    assert n is not None
    inside = [
        low > -1 and high < 1 for low, high in (statistics.t_interval(*sample) for sample in samples(0.0, 1.2, n))
    ]
    assert 0.8 - 2 * math.sqrt(0.16 / STUDIES) <= np.mean(inside) <= 0.87
    single = statistics.seeds_needed(1.0, 1.2)
    assert single is not None
    assert single < n


def test_what_no_number_of_seeds_shows_is_none() -> None:
    assert statistics.seeds_needed(0.0, 1.0) is None
    assert statistics.seeds_needed(-0.2, 1.0) is None
    assert statistics.seeds_needed(0.001, 1.0) is None
    assert statistics.seeds_needed(0.001, 1.0, most=10**8) is not None
    assert statistics.seeds_needed(0.1, 0.0) == 2


# -- several ----------------------------------------------------------------------------------------------------------


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at every call
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_of_nothing_is_nothing() -> None:
    assert statistics.holm([]) == ()


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    scores = np.array([[0.0, 10, 11], [12, 13, 14], [15, 16, 100], [10.5, 12.5, 14.5]])
    middle = np.sort(scores, axis=None)[3:-3]
    assert statistics.interquartile_mean(scores) == pytest.approx(middle.mean())


def pooled_mean(tasks: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.concatenate(tasks, axis=1).mean(axis=1))


def test_bootstraps_of_one_seed_are_equal_and_of_another_are_not() -> None:
    draw = np.random.default_rng(8)
    tasks = [draw.normal(mean, 1, 12) for mean in (0, 20, 50)]
    once, again, other = (statistics.stratified_bootstrap(tasks, pooled_mean, seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_a_bootstrap_draws_within_tasks_only() -> None:
    """Tasks that differ widely do not widen the interval; a plain bootstrap over all runs would."""
    draw = np.random.default_rng(9)
    tasks = [draw.normal(mean, 1, 20) for mean in (0, 40, 90)]
    low, high = statistics.stratified_bootstrap(tasks, pooled_mean, 0)
    expected = 1.96 * math.sqrt(sum(task.var() / 20 for task in tasks)) / 3
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)


def test_bootstrap_intervals_cover_nearly_as_often_as_they_say() -> None:
    """Percentile intervals fall a little short of their level with few runs a task; here by three points at most."""
    draw = np.random.default_rng(10)
    intervals: list[Bounds] = [
        statistics.stratified_bootstrap([draw.normal(mean, 1, 25) for mean in (0, 5)], pooled_mean, 0, resamples=400)
        for _ in range(600)
    ]
    covered = np.mean([low < 2.5 < high for low, high in intervals])
    assert 0.92 <= covered <= 0.97


def test_the_probability_of_improvement_is_mann_whitneys_u() -> None:
    draw = np.random.default_rng(11)
    first, second = [[draw.integers(0, 9, runs).astype(float) for runs in sizes] for sizes in ((6, 5), (7, 5))]
    u = [stats.mannwhitneyu(b, a).statistic / (len(a) * len(b)) for a, b in zip(first, second, strict=True)]
    assert statistics.probability_of_improvement(first, second) == pytest.approx(np.mean(u))
    both = statistics.probability_of_improvement(second, first) + statistics.probability_of_improvement(first, second)
    assert both == pytest.approx(1)


def test_wins_ties_and_losses_are_counted_beyond_the_margin() -> None:
    counts = statistics.win_tie_loss([1.2, 1.0, 0.0, -1.0, -1.1, -3.0], 1.0)
    assert counts == statistics.WinTieLoss(wins=1, ties=3, losses=2)
