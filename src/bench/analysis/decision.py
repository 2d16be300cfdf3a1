"""The decision table: the only judge. Everything else that is computed describes.

A verdict is read off one repeated interval [L, U] of the difference (alternative minus baseline, in points) and one
[r, R] of the time ratio (baseline over alternative); d is the margin. The first row that matches decides:

| condition | verdict |
|---|---|
| L > d | the alternative: better by more than the margin |
| U < -d | the baseline: better by more than the margin |
| -d < L and U < d | equivalent: the cheaper one by measured time, either where 1 lies in [r, R] |
| U < d and R < 1 | the baseline: not worse by more than the margin, and faster |
| L > -d and r > 1 | the alternative: not worse by more than the margin, and faster |
| else | undecided |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.sequential import Looks, Spending, half_width, nominal_levels, repeated_p
from bench.analysis.statistics import one_sided_p

EQUIVALENT, UNDECIDED, EITHER = "equivalent", "undecided", "either"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its bounds."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the decision table says.

    verdict: an arm, `equivalent` or `undecided`;  reason: the row that matched, in words;
    cheaper: by measured time, an arm or `either` (with `equivalent`), None where times do not count;
    p: smallest alpha at which any row would have matched.
    """

    verdict: str
    reason: str
    cheaper: str | None = None
    p: float = 1.0


@dataclass(frozen=True)
class Sample:
    """Paired values at one look. mean, sd: of the values, sd with n - 1;  n: of pairs."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, resolution: float = 0.0) -> Sample | None:
        """None for fewer than two values, which have no spread.

        resolution: the smallest step that a value can take; where all values are equal, the spread is not taken for
        zero but for that of rounding to such steps.
        """
        if len(values) < 2:
            return None
        sd = float(np.std(values, ddof=1))
        return cls(float(np.mean(values)), sd if sd > 1e-12 else resolution / math.sqrt(12), len(values))

    def p_above(self, bound: float) -> float:
        """Two-sided nominal level at which the t interval's lower end reaches a bound; above 1 where the mean is below.

        Twice the one-sided p-value of the hypothesis that the true mean is at most the bound.
        """
        return 2 * one_sided_p(self.mean, self.sd, self.n, bound)

    def p_below(self, bound: float) -> float:
        """The same for the upper end."""
        return Sample(-self.mean, self.sd, self.n).p_above(-bound)


@dataclass(frozen=True)
class Ladder:
    """Planned looks and how alpha is spent over them."""

    looks: Looks
    alpha: float
    spending: Spending

    def look_of(self, n: int) -> int:
        """How many looks are reached with n pairs: 0 before the first."""
        return sum(look <= n for look in self.looks)

    def nominal(self, level: float, look: int) -> float:
        """The two-sided nominal level of a look, counted from 1, where the whole ladder has `level`."""
        return nominal_levels(self.looks, level, self.spending)[look - 1]

    def interval(self, sample: Sample, look: int) -> Interval:
        """The repeated interval at a look, as wide as the pairs there are make it."""
        half = half_width(sample.sd, sample.n, self.nominal(self.alpha, look))
        return Interval(estimate=sample.mean, low=sample.mean - half, high=sample.mean + half)

    def p(self, nominal: float, look: int) -> float:
        """Smallest alpha of the whole ladder at which a bound with this nominal p is excluded at this look."""
        return 1.0 if nominal >= 1 else repeated_p(nominal, look - 1, self.looks, self.spending)


@dataclass(frozen=True)
class Case:
    """What a scene brings before the judge. times: natural logarithms of the time ratios, None where they do not count.

    margin: in the units of `difference`.
    """

    baseline: str
    alternative: str
    difference: Sample
    times: Sample | None
    margin: float
    ladder: Ladder
    look: int

    def decide(self, level: float | None = None) -> Decision:
        """The verdict at a level: the ladder's alpha, or a smaller one where several scenes are judged together.

        A bound of the repeated interval lies beyond a value exactly when the nominal p against that value is at most
        the look's nominal level, so that rows compare p with level.
        """
        level = self.ladder.alpha if level is None else level
        allowed = self.ladder.nominal(level, self.look) if level > 0 else -1.0
        rows = self.rows()
        p = self.ladder.p(min(nominal for _, _, nominal in rows), self.look)
        for verdict, reason, nominal in rows:
            if nominal <= allowed:
                cheaper = self._cheaper(allowed) if verdict == EQUIVALENT else None
                return Decision(verdict=verdict, reason=reason, cheaper=cheaper, p=min(p, level))
        return Decision(verdict=UNDECIDED, reason="no row of the decision table matches", p=p)

    def rows(self) -> list[tuple[str, str, float]]:
        """The rows of the decision table: verdict, reason, and the nominal p against what the row excludes."""
        margin, difference = self.margin, self.difference
        not_worse = difference.p_below(margin)  # the baseline: U < margin
        alternative_not_worse = difference.p_above(-margin)  # L > -margin
        faster, alternative_faster = self._times()
        better = f"better by more than {points(margin)}"
        thrifty = f"not worse by more than {points(margin)}, and faster here"
        return [
            (self.alternative, better, difference.p_above(margin)),
            (self.baseline, better, difference.p_below(-margin)),
            (EQUIVALENT, f"within {points(margin)} of each other", max(not_worse, alternative_not_worse)),
            (self.baseline, thrifty, max(not_worse, faster)),
            (self.alternative, thrifty, max(alternative_not_worse, alternative_faster)),
        ]

    def _cheaper(self, allowed: float) -> str | None:
        """By measured time: an arm, or `either` where no difference in time is shown."""
        if self.times is None:
            return None
        faster, alternative_faster = self._times()
        return self.baseline if faster <= allowed else self.alternative if alternative_faster <= allowed else EITHER

    def _times(self) -> tuple[float, float]:
        """Nominal p against R >= 1 and against r <= 1."""
        if self.times is None:
            return math.inf, math.inf
        return self.times.p_below(0.0), self.times.p_above(0.0)


def judge_together(scenes: Sequence[Case], alpha: float) -> list[tuple[Decision, float]]:
    """Holm's step-down procedure over scenes: of each, the verdict that stands in the family, and its adjusted p.

    The most certain scene is judged at alpha/m, the next one at alpha/(m-1), and so on until one does not decide; what
    comes after it is undecided. Wrong verdicts in the whole family stay at alpha or below (Holm 1979; for verdicts with
    a direction and independent scenes: Shaffer 1980).
    """
    smallest = [scene.decide().p for scene in scenes]
    order = sorted(range(len(scenes)), key=lambda index: smallest[index])
    judged: dict[int, tuple[Decision, float]] = {}
    adjusted = 0.0
    for rank, index in enumerate(order):
        share = len(scenes) - rank
        adjusted = min(1.0, max(adjusted, share * smallest[index]))
        level = alpha / share if adjusted <= alpha else 0.0
        judged[index] = (scenes[index].decide(level), adjusted)
    return [judged[index] for index in range(len(scenes))]


def points(margin: float) -> str:
    """A number of percentage points in words."""
    return f"{margin:g} point{'s'[: margin != 1]}"
