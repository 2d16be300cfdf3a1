"""Looking more than once without erring more often: repeated confidence intervals over planned looks.

Evidence is judged at planned numbers of seeds, `looks`, the last of which is the cap. A spending function says how much
of the error rate alpha may be used up by each look (Lan & DeMets 1983); recursive integration over those who went on
(Armitage, McPherson & Rowe 1969) turns that into a nominal level a look; and the ordinary t interval at that level is
the *repeated* interval of the look (Jennison & Turnbull 2000, ch. 9). The repeated intervals of a ladder cover the
truth *together* with probability 1 - alpha, whatever rule decides when to stop. Levels are two-sided; each side is
computed by itself and spends alpha / 2, so that looking at both can only be safer.

The usual recursion is over sums of normal observations, and its levels, read as levels of t tests, err a little too
often with few seeds (5.3 % rather than 5 % for looks at 5, 10, 15 and 20). This one is over t statistics themselves.
They too form a Markov chain (Hall, Wijsman & Ghosh 1965): of n + g normal observations around 0, the share that the
first n hold of the sum of squares is Beta(n / 2, g / 2), and independent of it each group's direction, with
sum / sqrt(n * sum of squares) = t / sqrt(n - 1 + t^2), is that of a point drawn evenly from a sphere.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.errors import UserError

Spending = Literal["obrien_fleming", "power3", "power2", "pocock"]  # late to early
Looks = tuple[int, ...]
Floats = NDArray[np.float64]

MOST_SEEDS = 1000  # that more than one look can be planned for

_SMALLEST_ALPHA = 1e-10  # of `repeated_p`: smaller ones say nothing more
_NODES = (
    16  # of Gauss-Jacobi quadrature over the share of the first observations; eight times as many where it has steps
)
# Statistics lie in cells between these normal scores: a t statistic's score is the normal deviate as rare as itself.
_EDGES = np.concatenate([np.arange(-12, -4) / 2, np.arange(-20, 0) / 10, np.arange(80) / 20, np.arange(40, 81) / 10])


def spent(fraction: float, alpha: float, spending: Spending) -> float:
    """The share of alpha (two-sided) used up when `fraction` of the planned seeds has been seen.

    fraction: 0 (none is spent) to 1 (all is spent). Sources: Lan & DeMets 1983 (O'Brien-Fleming and Pocock type),
    Kim & DeMets 1987 (powers of the fraction).
    """
    if fraction <= 0:
        return 0.0
    match spending:
        case "obrien_fleming":
            return 4 * float(special.ndtr(special.ndtri(alpha / 4) / math.sqrt(fraction)))
        case "pocock":
            return alpha * math.log1p((math.e - 1) * fraction)
        case "power2" | "power3":
            return alpha * fraction ** int(spending[-1])


@functools.cache
def nominal_levels(looks: Looks, alpha: float, spending: Spending) -> tuple[float, ...]:
    """The two-sided nominal level of each look's t test: each side errs with alpha / 2 over all looks together.

    looks: growing numbers of observations, from 2. A level may exceed 1 where alpha is near 1: its half width is
    negative. Raises: `UserError` where several looks reach beyond 1,000.
    """
    total = [spent(look / looks[-1], alpha, spending) / 2 for look in looks]
    errors = np.diff([0.0, *total])
    reached = special.ndtr(
        -_EDGES
    )  # probability to come this far without having passed a bound, and to lie above an edge
    levels = [2 * total[0]]
    for before, look, error, now in zip(looks, looks[1:], errors, errors[1:], strict=False):
        went_on = -np.diff(np.maximum(reached - error, 0.0))
        reached = _transition(before, look) @ went_on
        scores = -special.ndtri(np.clip(reached, 1e-300, None))
        bound = float(np.interp(-special.ndtri(now), scores, _EDGES))
        levels.append(2 * float(special.ndtr(-bound)))
    return tuple(levels)


@functools.lru_cache(maxsize=2**16)
def t_quantile(degrees: int, level: float) -> float:
    """The two-sided quantile of Student's t: exceeded in size with probability `level`."""
    return -float(special.stdtrit(degrees, level / 2))


def half_width(sd: float, n: int, level: float) -> float:
    """Half the t interval of a mean at a two-sided nominal level. sd: with n - 1 in its denominator; n: 2 or more."""
    return t_quantile(n - 1, level) * sd / math.sqrt(n)


def repeated_p(nominal_p: float, look: int, looks: Looks, spending: Spending) -> float:
    """The smallest alpha at which the repeated interval of this look excludes a value.

    nominal_p: of the ordinary two-sided t test against that value, at this look alone; to ask for one side only, twice
    that side's p, which may exceed 1. Returns: 1e-10 to 1, accurate to one part in a hundred with first looks of
    five seeds or more (a few in a hundred below, and far out with O'Brien-Fleming spending).
    """
    alphas, levels = _levels_by_alpha(looks, spending)
    nominal = math.log(max(nominal_p, 1e-300))
    return math.exp(float(np.interp(nominal, levels[:, look], alphas)))


@functools.cache
def _levels_by_alpha(looks: Looks, spending: Spending) -> tuple[Floats, Floats]:
    """Logarithms of growing alphas, and of the nominal levels (alphas, looks) that belong to them."""
    alphas = np.concatenate([np.geomspace(_SMALLEST_ALPHA, 0.2, 80), np.linspace(0.2, 1, 33)[1:]])
    levels = np.array([nominal_levels(looks, float(alpha), spending) for alpha in alphas])
    return np.log(alphas), np.maximum.accumulate(np.log(np.maximum(levels, 1e-300)), axis=0)


@functools.cache
def _transition(before: int, after: int) -> Floats:
    """Chances that a t statistic of `after` observations lies above an edge, by its cell at `before`: (edges, cells).

    With S = sum / sqrt(sum of squares), S_after = sqrt(share) S_before + sqrt(1 - share) S_added.
    """
    if after > MOST_SEEDS:
        raise UserError(f"protocol.looks: several looks can be planned for up to {MOST_SEEDS:,} seeds, not {after:,}")
    added = after - before
    share, weights = _share_of_first(before, added)
    middles = (_EDGES[1:] + _EDGES[:-1]) / 2
    first = np.sqrt(share) * _scaled_sum(middles, before)[:, None]
    needed = (_scaled_sum(_EDGES, after)[:, None, None] - first) / np.sqrt(1 - share)
    chances: Floats = _chance_above(needed, added) @ weights
    return chances


def _share_of_first(n: int, added: int) -> tuple[Floats, Floats]:
    """Nodes and weights of the first n observations' share in the sum of squares of all, Beta(n / 2, added / 2)."""
    nodes, weights = special.roots_jacobi(_NODES if added > 1 else 8 * _NODES, added / 2 - 1, n / 2 - 1)
    return (1 + nodes) / 2, weights / weights.sum()


def _scaled_sum(scores: Floats, n: int) -> Floats:
    """Sum over root of the sum of squares, of n observations whose t statistic has these normal scores."""
    t = -np.sign(scores) * special.stdtrit(n - 1, special.ndtr(-np.abs(scores)))
    scaled: Floats = math.sqrt(n) * t / np.sqrt(n - 1 + t**2)
    return scaled


def _chance_above(needed: Floats, n: int) -> Floats:
    """Chance that the scaled sum of n new observations exceeds `needed`: it is +1 or -1 for a single one."""
    if n == 1:
        return np.where(needed < -1, 1.0, np.where(needed < 1, 0.5, 0.0))
    tail = special.betainc((n - 1) / 2, 0.5, np.clip(1 - needed**2 / n, 0, 1)) / 2
    return np.where(needed > 0, tail, 1 - tail)
