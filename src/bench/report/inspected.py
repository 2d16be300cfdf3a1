"""What a page on a text is made of: runs, the tokens that they read, and what their networks did with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.duel_sentence import name_of
from bench.models.reading import Reading
from bench.report.numbers import number, plural


@dataclass(frozen=True)
class InspectedRun:
    """A trained run. labels: of its classes;  description: model, corpus and quality in a few words."""

    run_id: str
    cell: str
    labels: tuple[str, ...]
    description: str

    @property
    def name(self) -> str:
        """Such as `LSTM 3f2a9c`."""
        return f"{name_of(self.cell)} {self.run_id[:6]}"


@dataclass(frozen=True)
class Inspected:
    """One run on one text.

    tokens: those that the network read;  unseen: whether each has no vector of its own;  left_out: tokens that were
    cut.
    """

    run: InspectedRun
    tokens: tuple[str, ...]
    unseen: tuple[bool, ...]
    left_out: int
    reading: Reading

    @property
    def label(self) -> str:
        """The class that is predicted."""
        return self.run.labels[self.reading.predicted]

    @property
    def probability(self) -> float:
        """Of that class."""
        return float(self.reading.probabilities[self.reading.predicted])

    @property
    def answer(self) -> str:
        """Such as `positive, 97.1%`."""
        return f"{self.label}, {percent(self.probability)}"

    @property
    def runner_up(self) -> str:
        """The next class, as `answer`."""
        place = int(np.argsort(-self.reading.probabilities, kind="stable")[1])
        return f"{self.run.labels[place]}, {percent(float(self.reading.probabilities[place]))}"

    @property
    def reading_line(self) -> str:
        """How many tokens were read, and what was not."""
        words = [plural(len(self.tokens), "token")]
        if self.left_out:
            words.append(f"{plural(self.left_out, 'more token')} cut (data.max_length)")
        if count := sum(self.unseen):
            words.append(f"{count} without a vector of {'its' if count == 1 else 'their'} own")
        return ", ".join(words)

    def strongest(self, sign: int, most: int) -> list[tuple[str, float]]:
        """Tokens with the largest attributions towards the class (sign 1) or against it (−1), and these."""
        attribution = self.reading.attribution
        found = [(self.tokens[place], float(attribution.values[place])) for place in attribution.strongest]
        return [(token, value) for token, value in found if value * sign > 0][:most]

    @property
    def completeness(self) -> str:
        """Whether the attributions sum to what they should, in words."""
        found = self.reading.attribution
        held = "within" if found.complete else "which misses"
        return (
            f"attributions sum to {number(found.total, 3, sign=True)}, the log odds change by "
            f"{number(found.change, 3, sign=True)}, {held} the tolerance of {number(found.tolerance, 3)} "
            f"({found.steps} steps)"
        )


def percent(share: float) -> str:
    """Such as `97.1%`."""
    return f"{100 * share:.1f}%"


def same_tokens(readings: Sequence[Inspected]) -> bool:
    """Whether all runs read the same tokens."""
    return len({one.tokens for one in readings}) == 1
