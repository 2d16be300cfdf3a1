"""What a network did with one text, in numbers. Nothing of torch is here: pages are made of it without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_RELATIVE_TOLERANCE = 0.01  # of the change in log odds, that attributions may miss
_ABSOLUTE_TOLERANCE = 0.01  # log odds, the same where the change is small


def tolerance_of(change: float) -> float:
    """How far the sum of attributions may lie from the change in log odds."""
    return max(_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE * abs(change))


@dataclass(frozen=True)
class Activation:
    """One quantity of a layer: a gate, a candidate, a state. values: (time, units);  low, high: its range."""

    name: str
    values: np.ndarray
    low: float
    high: float

    @property
    def means(self) -> np.ndarray:
        """(time,): over units."""
        means: np.ndarray = self.values.mean(axis=1)
        return means

    @property
    def norms(self) -> np.ndarray:
        """(time,): Euclidean."""
        norms: np.ndarray = np.linalg.norm(self.values, axis=1)
        return norms


@dataclass(frozen=True)
class LayerReading:
    """One direction of one layer, in the order of the text. layer: counted from 1;  direction: `forward`, `backward`,
    or empty where every token reads all others;  gates: what is computed on the way;  states: h first, then c;
    difference: the largest one between h here and the network's own, None where nothing was computed anew."""

    layer: int
    direction: str
    gates: tuple[Activation, ...]
    states: tuple[Activation, ...]
    difference: float | None = None

    @property
    def name(self) -> str:
        """Such as `layer 1, backward`."""
        return f"layer {self.layer}" + (f", {self.direction}" if self.direction else "")


@dataclass(frozen=True)
class Attribution:
    """What each token adds to the log odds of one class, log p/(1 − p), between a baseline and the text.

    values: (time,);  target: the class;  log_odds, baseline_log_odds: of the text, and of as many zero vectors;
    steps: of the integral, each a gradient that was taken.
    """

    values: np.ndarray
    target: int
    log_odds: float
    baseline_log_odds: float
    steps: int

    @property
    def total(self) -> float:
        """The sum over tokens."""
        return float(self.values.sum())

    @property
    def change(self) -> float:
        """What the sum should be: the log odds of the text less those of the baseline."""
        return self.log_odds - self.baseline_log_odds

    @property
    def tolerance(self) -> float:
        """How far the sum may lie from that."""
        return tolerance_of(self.change)

    @property
    def complete(self) -> bool:
        """Whether it lies within."""
        return abs(self.total - self.change) <= self.tolerance

    @property
    def strongest(self) -> list[int]:
        """Places of tokens, the largest absolute attribution first, earlier ones first at a tie."""
        return [int(place) for place in np.argsort(-np.abs(self.values), kind="stable")]


@dataclass(frozen=True)
class Reading:
    """What a network did with one text.

    probabilities: (classes,);  running: (time, classes), had the text ended after each token;  pooled: (time,) share of
    each token in what is classified, None where the pooling gives all or only one the same;  layers: first one first.
    """

    probabilities: np.ndarray
    running: np.ndarray
    attribution: Attribution
    pooled: np.ndarray | None = None
    layers: tuple[LayerReading, ...] = field(default_factory=tuple)

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())
