"""How fast a cost grows with a size: exponents by regression on log-log scales, beside those of the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MARGIN = 0.10  # by which an exponent may exceed that of the arithmetic: caches, and threads that share little work


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size, by least squares. sizes, costs: positive, as many of each."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


@dataclass(frozen=True)
class Growth:
    """One row of the table: what was measured along one ladder of sizes.

    costs: a list for each repetition, one cost a size;  arithmetic: operations or bytes that must be held, one a size;
    scale: of a cost, to be shown in `unit`.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    costs: tuple[tuple[float, ...], ...]
    arithmetic: tuple[float, ...]
    scale: float = 1.0

    @property
    def median(self) -> tuple[float, ...]:
        """The median cost of each size over repetitions."""
        return tuple(float(value) for value in np.median(np.array(self.costs), axis=0))

    @property
    def expected(self) -> float:
        """The exponent of the arithmetic on the same sizes."""
        return exponent(self.sizes, self.arithmetic)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The mean over repetitions of the measured exponent, and its 95% t interval; no bounds for a single one."""
        return _mean_and_bounds([exponent(self.sizes, costs) for costs in self.costs])

    @property
    def last_step(self) -> tuple[float, float, float]:
        """The same between the two largest sizes, where fixed costs hide least."""
        return _mean_and_bounds([exponent(self.sizes[-2:], costs[-2:]) for costs in self.costs])

    @property
    def expected_last(self) -> float:
        """The exponent of the arithmetic between the two largest sizes."""
        return exponent(self.sizes[-2:], self.arithmetic[-2:])

    @property
    def holds(self) -> bool:
        """Whether the cost grows no faster than the arithmetic, up to the margin and to what repetitions differ by."""
        return _no_faster(self.interval, self.expected) and _no_faster(self.last_step, self.expected_last)

    def line(self) -> str:
        """The row as people read it."""
        first, last = (self.scale * self.median[place] for place in (0, -1))
        return (
            f"{self.name:<26}{first:9.3g} to{last:9.4g} {self.unit:<4}{_shown(self.interval):>19}{self.expected:6.2f}"
            f"   {_shown(self.last_step):>19}{self.expected_last:6.2f}   {'holds' if self.holds else 'GROWS FASTER'}"
        )


HEADER = f"{'':<26}{'smallest to largest':<26}{'exponent':>19}{'arith.':>6}   {'last step alone':>19}{'arith.':>6}"


def _mean_and_bounds(values: Sequence[float]) -> tuple[float, float, float]:
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def _no_faster(measured: tuple[float, float, float], expected: float) -> bool:
    """The mean is within the margin, or repetitions differ by so much that the lower bound is."""
    mean, low, _ = measured
    return mean <= expected + MARGIN or (math.isfinite(low) and low <= expected + MARGIN)


def _shown(measured: tuple[float, float, float]) -> str:
    mean, low, high = measured
    return f"{mean:.2f}" + (f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) else "")
