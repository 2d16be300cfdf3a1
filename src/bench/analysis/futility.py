"""Giving up early: the chance that a ladder will still decide. Not binding: no verdict depends on it."""

from __future__ import annotations

import math

from scipy import special

from bench.analysis.decision import Case
from bench.analysis.sequential import half_width


def chance_of_deciding(case: Case) -> float:
    """Predictive chance that some row of the decision table matches at the last planned look.

    Seeds to come are taken to vary as those seen do, around a true mean that is t-distributed about the one seen (flat
    prior; Spiegelhalter, Freedman & Blackburn 1986); who is faster stays as it is shown now.
    """
    seen, ladder, margin = case.difference, case.ladder, case.margin
    cap = ladder.looks[-1]
    half = half_width(seen.sd, cap, ladder.nominal(ladder.alpha, len(ladder.looks)))
    spread = max(seen.sd * math.sqrt(max(cap - seen.n, 0) / (seen.n * cap)), 1e-12)

    def below(bound: float) -> float:
        """Chance that the mean at the cap lies below."""
        return float(special.stdtr(seen.n - 1, (bound - seen.mean) / spread))

    baseline, alternative = below(-margin - half), 1 - below(margin + half)  # better by more than the margin
    not_worse, alternative_not_worse = below(margin - half), 1 - below(half - margin)
    faster, alternative_faster = _faster(case)
    if faster:
        baseline = not_worse
    if alternative_faster:
        alternative = alternative_not_worse
    both = max(0.0, not_worse + alternative_not_worse - 1)  # equivalent
    covered = both if not (faster or alternative_faster) else 0.0
    return min(1.0, baseline + alternative + covered)


def _faster(case: Case) -> tuple[bool, bool]:
    """Whether the baseline, the alternative is shown to be faster at this look."""
    if case.times is None:
        return False, False
    shown = case.ladder.interval(case.times, case.look)
    return shown.high < 0, shown.low > 0
