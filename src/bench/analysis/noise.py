"""What seeds change: how far one more run may be from the others, and whether paired runs differ by more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from bench.analysis.decision import Interval
from bench.analysis.statistics import t_interval

FEWEST_SEEDS = 3  # from which a spread over seeds can be told at all


def seed_noise(values: Sequence[float], alpha: float = 0.05) -> float | None:
    """How far one more seed may be from the mean of these: half the width of the prediction interval, in their unit.

    None for fewer than three. Student's t with n - 1 degrees of freedom, times sqrt(1 + 1/n) standard deviations.
    """
    n = len(values)
    if n < FEWEST_SEEDS:
        return None
    return float(stats.t.ppf(1 - alpha / 2, n - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / n))


def mean_interval(values: np.ndarray, alpha: float) -> Interval | None:
    """Mean with its two-sided t interval; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = float(values.mean())
    low, high = t_interval(mean, float(values.std(ddof=1)), len(values), alpha)
    return Interval(estimate=mean, low=low, high=high)


def paired_p(values: np.ndarray) -> float | None:
    """Paired t test of no difference, sign test where every pair differs by as much; None for fewer than two pairs."""
    if len(values) < 2:
        return None
    if np.ptp(values) < 1e-9:
        return 1.0 if abs(values[0]) < 1e-9 else float(2.0 ** (1 - len(values)))
    return float(stats.ttest_1samp(values, 0).pvalue)
