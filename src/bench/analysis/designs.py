"""What a design costs and finds, were paired differences normal: the ladder of looks, and one look of equal power.

For choosing looks. What the program really does with records is simulated in `simulation.py`; the two agree.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from bench.analysis.decision import Ladder
from bench.analysis.sequential import half_width
from bench.seeds import generator

_MOST_SEEDS = 400  # of a single look
_STUDIES = 200_000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """seeds: mean number when the ladder ends;  the shares of studies that end with each verdict on the difference."""

    seeds: float
    alternative: float
    baseline: float
    equivalent: float

    @property
    def undecided(self) -> float:
        """The share without a verdict at the cap."""
        return max(0.0, 1 - self.alternative - self.baseline - self.equivalent)


def expected(ladder: Ladder, effect: float, sd: float, margin: float = 1.0) -> Expected:
    """A ladder judged on the difference alone, over 200,000 simulated studies of normal differences, always the same.

    effect, sd: true mean and standard deviation of the paired differences, in points like `margin`.
    """
    means, sds = _moments(ladder.looks[-1])
    seeds = np.full(_STUDIES, ladder.looks[-1])
    going = np.ones(_STUDIES, bool)
    shares = np.zeros(3)
    for number, look in enumerate(ladder.looks, 1):
        mean = effect + sd * means[look - 2]
        half = half_width(sd, look, ladder.nominal(ladder.alpha, number)) * sds[look - 2]
        rows = (mean - half > margin, mean + half < -margin, np.abs(mean) + half < margin)
        for row, matches in enumerate(rows):
            now = going & matches
            shares[row] += now.mean()
            seeds[now] = look
            going &= ~now
    alternative, baseline, equivalent = shares.tolist()
    return Expected(seeds=float(seeds.mean()), alternative=alternative, baseline=baseline, equivalent=equivalent)


@functools.lru_cache(maxsize=4)
def _moments(cap: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of the first 2, 3, … cap standard normal draws: (cap - 1, studies) each."""
    draw = generator(0, "bootstrap")
    means, sds = np.empty((2, cap - 1, _STUDIES))
    total = draw.standard_normal(_STUDIES)
    squares = total**2
    for n in range(2, cap + 1):
        new = draw.standard_normal(_STUDIES)
        total, squares = total + new, squares + new**2
        means[n - 2] = total / n
        sds[n - 2] = np.sqrt(np.maximum(squares - total**2 / n, 0) / (n - 1))
    return means, sds


def equivalence_power(n: int, sd: float, margin: float = 1.0, alpha: float = 0.05) -> float:
    """Chance that a single look at n pairs finds equivalence where there is no difference.

    Mean and sd of a normal sample are independent: given the sd, the mean must lie within margin less half width. The
    sd is integrated over 4,000 quantiles of its distribution.
    """
    shares = (np.arange(4000) + 0.5) / 4000
    sds = sd * np.sqrt(2 * special.gammaincinv((n - 1) / 2, shares) / (n - 1))
    room = np.maximum(margin - half_width(1.0, n, alpha) * sds, 0)
    return float(np.mean(2 * special.ndtr(room * math.sqrt(n) / sd) - 1))


def seeds_of_equal_power(power: float, sd: float, margin: float = 1.0, alpha: float = 0.05) -> float:
    """The size of the single look whose `equivalence_power` is `power`, interpolated between whole numbers.

    Raises: `ValueError` if 400 seeds are not enough, or two too many.
    """
    before = equivalence_power(2, sd, margin, alpha)
    for n in range(3, _MOST_SEEDS + 1):
        now = equivalence_power(n, sd, margin, alpha)
        if before <= power <= now and now > before:
            return n - 1 + (power - before) / (now - before)
        before = now
    raise ValueError(f"no single look of 2 to {_MOST_SEEDS} seeds has a power of {power} at a spread of {sd}")
