"""How norms of gradients fall with distance: shares, factor per token, half-life, and the curve that a record keeps.

Imports no torch, for reports read it too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

_POINTS = 41  # of a curve in the record, at most
_DIGITS = 4  # significant ones


def relative(norms: Floats) -> Floats:
    """Each text's norms over that at its last token, as far back as all texts reach.

    norms: (texts, distances), NaN before a text's first token. A text is left out whose last state has no gradient at
    all, as may be with `pooling=max`. Returns (texts, distances).
    """
    reached = norms[:, ~np.isnan(norms).any(axis=0)]
    counted = reached[reached[:, 0] > 0]
    return counted / counted[:, :1]


def decay_per_step(shares: Floats) -> float | None:
    """The factor by which the median over texts changes from one token to the one before; None without a slope.

    The slope of its logarithm over distance by Theil and Sen (Sen 1968), the median over all pairs of distances: an
    LSTM's ∂L/∂h drops once at the last step, whose state alone the loss reads, and that one step must not count for
    all. shares: (texts, distances), from `relative`.
    """
    if len(shares) == 0:
        return None
    medians = np.median(shares, axis=0)
    places = np.flatnonzero((medians > 0) & np.isfinite(medians))
    places = places[_thinned(len(places))]
    if len(places) < 2:
        return None
    return math.exp(stats.theilslopes(np.log(medians[places]), places).slope)


def half_life(decay: object) -> float | None:
    """Tokens over which a factor per token adds up to one half; None where nothing is lost, or nothing is known."""
    return math.log(0.5) / math.log(decay) if isinstance(decay, float) and 0 < decay < 1 else None


def curve(shares: Floats) -> list[list[float]]:
    """[distance, lower quartile, median, upper quartile] over texts, at some distances; what underflows is left out."""
    if len(shares) == 0:
        return []
    quartiles = np.percentile(shares, [25, 50, 75], axis=0)
    rows = [[float(place), *(_written(value) for value in quartiles[:, place])] for place in _thinned(shares.shape[1])]
    return [row for row in rows if all(math.isfinite(value) for value in row) and row[2] > 0]


def _thinned(count: int) -> NDArray[np.int64]:
    """Some of the first `count` whole numbers, evenly, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64))


def _written(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
