"""Intervals and tests, as pure functions that agree with their sources, and with scipy and statsmodels in the tests.

A sample of paired differences is given by its mean, its sd (n - 1 in the denominator) and its size n, 2 or more. All
levels `alpha` are two-sided unless a function says otherwise. Where sd is 0, tests are certain.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from bench.analysis.sequential import half_width, t_quantile
from bench.seeds import generator

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Bounds = tuple[float, float]


def t_interval(mean: float, sd: float, n: int, alpha: float = 0.05) -> Bounds:
    """Two-sided interval of a mean at confidence 1 - alpha (Student 1908)."""
    half = half_width(sd, n, alpha)
    return mean - half, mean + half


def one_sided_bounds(mean: float, sd: float, n: int, alpha: float = 0.05) -> Bounds:
    """A lower and an upper bound of a mean, each by itself at confidence 1 - alpha."""
    return t_interval(mean, sd, n, 2 * alpha)


def one_sided_p(mean: float, sd: float, n: int, bound: float) -> float:
    """The t test of the hypothesis that the true mean is at most `bound`."""
    if sd == 0:
        return 0.0 if mean > bound else 1.0
    return float(special.stdtr(n - 1, (bound - mean) * math.sqrt(n) / sd))


def tost_p(mean: float, sd: float, n: int, margin: float) -> float:
    """Two one-sided tests that the true mean lies outside of (-margin, margin): the larger p (Schuirmann 1987)."""
    return max(one_sided_p(mean, sd, n, -margin), one_sided_p(-mean, sd, n, -margin))


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the true mean lies within the margins, above the upper one, below the lower one."""

    within: float
    above: float
    below: float


def posterior(mean: float, sd: float, n: int, margin: float) -> Posterior:
    """What a sample says under a prior that is flat in mean and log sd: the true mean is t-distributed around its own.

    Source: Gelman et al. 2013, Bayesian Data Analysis, section 3.2. It knows nothing of earlier looks.
    """
    if sd == 0:
        return Posterior(float(abs(mean) <= margin), float(mean > margin), float(mean < -margin))
    above, below = one_sided_p(-mean, sd, n, -margin), one_sided_p(mean, sd, n, -margin)
    return Posterior(max(0.0, 1 - above - below), above, below)


def ratio_interval(log_ratios: Sequence[float] | Floats, alpha: float = 0.05) -> tuple[float, float, float]:
    """Geometric mean of paired ratios, given by their natural logarithms, and its two-sided t interval."""
    logs = np.asarray(log_ratios, float)
    mean = float(logs.mean())
    low, high = t_interval(mean, float(logs.std(ddof=1)), len(logs), alpha)
    return math.exp(mean), math.exp(low), math.exp(high)


@dataclass(frozen=True)
class McNemar:
    """Two runs over the same texts. only_first, only_second: texts that one alone labels correctly;  p: mid-p."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: Booleans, second: Booleans) -> McNemar:
    """McNemar's exact conditional test with the mid-p correction (Fagerland, Lydersen & Laake 2013).

    first, second: (texts,) whether each labels a text correctly.
    """
    one, other = int(np.sum(first & ~second)), int(np.sum(~first & second))
    point = float(stats.binom.pmf(one, one + other, 0.5))
    tail = float(stats.binom.cdf(min(one, other), one + other, 0.5))
    return McNemar(one, other, 1 - point / 2 if one == other else 2 * tail - point)


def mcnemar_by_seed(first: Booleans, second: Booleans) -> tuple[McNemar, ...]:
    """One test a pair of runs. first, second: (seeds, texts). Tests that share their texts are not independent."""
    return tuple(mcnemar(*pair) for pair in zip(first, second, strict=True))


def test_set_standard_error(first: Booleans, second: Booleans) -> float:
    """How far a new test set of the same size would move the mean difference of *these* runs: one standard error.

    first, second: (seeds, texts) correctness of both arms;  returns a fraction of 1. The mean over seeds of each text's
    difference is one observation; texts are taken for independent draws (Miller 2024, Adding error bars to evals).
    """
    by_text = second.mean(axis=0) - first.mean(axis=0)
    return float(by_text.std(ddof=1)) / math.sqrt(by_text.size)


def population_interval(first: Booleans, second: Booleans, alpha: float = 0.05) -> Bounds:
    """Interval of second minus first for new seeds *and* new texts, in fractions of 1.

    first, second: (seeds, texts) correctness, two of each or more. Seeds and texts are crossed random effects: the
    variance of the mean is (MS_seeds + MS_texts - MS_rest) / (seeds * texts), never less than seeds or texts alone
    imply; t quantile with Satterthwaite's degrees of freedom (Searle, Casella & McCulloch 1992, ch. 4).
    """
    difference = second.astype(float) - first
    seeds, texts = difference.shape
    mean, by_seed, by_text = difference.mean(), difference.mean(axis=1), difference.mean(axis=0)
    rest = difference - by_seed[:, None] - by_text + mean
    squares = np.array([texts * by_seed.var(ddof=1), seeds * by_text.var(ddof=1), 0.0])
    degrees = np.array([seeds - 1, texts - 1, (seeds - 1) * (texts - 1)])
    squares[2] = min(float((rest**2).sum()) / degrees[2], squares[:2].min())
    variance = float(squares[0] + squares[1] - squares[2])
    freedom = variance**2 / float((squares**2 / degrees).sum()) if variance else 1.0
    half = -float(special.stdtrit(freedom, alpha / 2)) * math.sqrt(variance / difference.size)
    return float(mean) - half, float(mean) + half


def power_beyond(distance: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Chance that one end of a two-sided t interval excludes a value that lies `distance` beyond the true mean.

    Exact, by the noncentral t distribution (Cohen 1988, ch. 2); alpha: nominal level of the interval.
    """
    if math.isinf(distance) or sd == 0:
        return float(distance > 0)
    return 1 - float(special.nctdtr(n - 1, distance * math.sqrt(n) / sd, t_quantile(n - 1, alpha)))


def minimum_detectable(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The distance from a value at which n pairs exclude it with the given power; the inverse of `power_beyond`.

    None where scipy cannot compute it: two pairs at a very small alpha. (Its own inverse does not even return there.)
    """
    if sd == 0:
        return 0.0
    high = sd
    while power_beyond(high, sd, n, alpha) < power:
        high *= 2
    if math.isnan(power_beyond(high, sd, n, alpha)):
        return None
    return float(optimize.brentq(lambda distance: power_beyond(distance, sd, n, alpha) - power, 0.0, high))


def seeds_needed(
    distance: float, sd: float, alpha: float = 0.05, power: float = 0.8, *, other: float = math.inf, most: int = 10_000
) -> int | None:
    """The smallest n of pairs that excludes a value `distance` beyond the true mean; None if more than `most`.

    other: distance to a second value, on the other side, that must be excluded too (equivalence has two margins). The
    power for both is then taken for the sum less 1, its lower bound.
    """
    if min(distance, other) <= 0:
        return None

    def reached(n: int) -> float:
        return power_beyond(distance, sd, n, alpha) + power_beyond(other, sd, n, alpha) - 1

    n = bisect.bisect_left(range(most + 1), power, lo=2, key=reached)
    return n if n <= most else None


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values adjusted for being several: Holm's step-down procedure (Holm 1979), in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return tuple(adjusted.tolist())


def interquartile_mean(scores: Floats) -> float:
    """Mean of the middle half of all scores, runs and tasks together (rliable; Agarwal et al. 2021)."""
    return float(stats.trim_mean(scores, 0.25, axis=None))


def stratified_bootstrap(
    tasks: Sequence[Floats],
    statistic: Callable[[list[Floats]], Floats],
    seed: int,
    alpha: float = 0.05,
    resamples: int = 2000,
) -> Bounds:
    """Percentile interval of a statistic over tasks, runs drawn anew within each task (Agarwal et al. 2021).

    tasks: (runs,) a task;  statistic: from a list of (resamples, runs) arrays, one a task, to (resamples,) values. The
    same seed gives the same interval.
    """
    draw = generator(seed, "bootstrap")
    drawn = [runs[draw.integers(len(runs), size=(resamples, len(runs)))] for runs in tasks]
    low, high = np.quantile(statistic(drawn), [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def probability_of_improvement(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    """Chance that a run of the second arm beats one of the first, ties half, mean over tasks: Mann-Whitney's U / (n m).

    first, second: (runs,) a task. Source: Agarwal et al. 2021, section 4.3.
    """
    beats = [np.sign(b[:, None] - a[None, :]).mean() for a, b in zip(first, second, strict=True)]
    return float(np.mean(beats)) / 2 + 0.5


@dataclass(frozen=True)
class WinTieLoss:
    """Tasks on which the mean difference lies above the margin, within it, below it."""

    wins: int
    ties: int
    losses: int


def win_tie_loss(differences: Sequence[float], margin: float) -> WinTieLoss:
    """Count tasks by their mean difference; what lies at the margin is a tie."""
    wins, losses = sum(d > margin for d in differences), sum(d < -margin for d in differences)
    return WinTieLoss(wins, len(differences) - wins - losses, losses)
