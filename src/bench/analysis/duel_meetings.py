"""The turns of a duel, setting by setting: who met, and the rounds that count.

A table of turns has one row a timed training step (`COLUMNS`). Others on the processor do not slow all cells alike, so
rounds in which threads had to wait for it are left out of a setting if `_FEWEST` repetitions have others; if not, all
of its rounds count and it is marked disturbed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.declarations import BASELINES
from bench.models.sizes import SIMPLEST_FIRST
from bench.runs.contention import MOST_WAIT

SETTING = ["length", "batch_size", "width"]
CONTESTANT = ["cell", "kernel", "hidden_size"]
COLUMNS = [*SETTING, "repetition", "round", "position", *CONTESTANT, "equal_width", "equal_parameters", "flops",
           "parameters", "seconds", "waited"]  # fmt: skip
KERNELS = ("torch", "step")
MATRIX_PRODUCT = "matrix product"  # the contestant that stands for the machine's own rate
FASTEST = "fastest"  # each cell under whichever execution took less time in this setting
MATCHINGS = {"width": "equal_width", "parameters": "equal_parameters"}

_FEWEST = 3  # repetitions with an undisturbed round, from which on only such rounds count

Floats = NDArray[np.float64]
Key = tuple[str, str, int]  # cell, kernel, hidden size


@dataclass(frozen=True)
class Traits:
    """What a contestant's turns say of it beside their time. flops: operations of one training step."""

    equal_width: bool
    equal_parameters: bool
    flops: int
    parameters: int


@dataclass(frozen=True)
class Meeting:
    """All turns of one setting.

    place: length, batch size, width;  contestants: from the simplest on, `torch` before `step`;  seconds: a row for
    each round that counts, by repetition and round, and a column a contestant;  disturbed: whether all rounds count
    because too few were undisturbed.
    """

    place: tuple[int, int, int]
    contestants: dict[Key, Traits]
    seconds: pd.DataFrame
    disturbed: bool

    def log_ratios(self, first: Key, second: Key) -> Floats:
        """(repetitions,) natural logarithms of the time ratio first / second."""
        return _medians((self.seconds[first] / self.seconds[second]).map(math.log))

    def seconds_of(self, one: Key) -> Floats:
        """(repetitions,) the median step of each repetition, in seconds."""
        return _medians(self.seconds[one])

    def flops(self, one: Key) -> float:
        """Operations of one training step."""
        return float(self.contestants[one].flops)

    def taking_part(self, matching: str) -> list[Key]:
        """The contestants of a comparison at equal width or equal parameters."""
        return [key for key, traits in self.contestants.items() if getattr(traits, MATCHINGS[matching])]


def _medians(rounds: pd.Series[float]) -> Floats:
    """Of each repetition."""
    return np.asarray(rounds.groupby(level="repetition").median(), np.float64)


def meetings(turns: pd.DataFrame) -> Iterator[Meeting]:
    """The turns of each setting, by length, batch size and width."""
    if turns.empty:
        return
    for place, rows in turns.groupby(SETTING):
        found = rows.drop_duplicates(CONTESTANT).assign(place=lambda table: table["cell"].map(complexity))
        found = found.sort_values(["place", "cell", "hidden_size", "kernel"], ascending=[True, True, True, False])
        names = zip(found["cell"], found["kernel"], found["hidden_size"], strict=True)
        traits = found[[item.name for item in fields(Traits)]].itertuples(index=False)
        contestants = {key: Traits(*entry) for key, entry in zip(names, traits, strict=True)}
        counted = undisturbed(rows)
        disturbed = counted["repetition"].nunique() < min(_FEWEST, rows["repetition"].nunique())
        counted = rows if disturbed else counted
        seconds = counted.pivot(index=["repetition", "round"], columns=CONTESTANT, values="seconds")
        length, batch_size, width = (int(str(value)) for value in place)
        yield Meeting((length, batch_size, width), contestants, seconds, disturbed)


def undisturbed(turns: pd.DataFrame) -> pd.DataFrame:
    """The turns of one setting's rounds in which threads hardly waited for a processor, by the rule for runs.

    Where the system does not tell, that is every round.
    """
    rounds = turns.groupby(["repetition", "round"])
    waited, seconds = rounds["waited"].transform("sum"), rounds["seconds"].transform("sum")
    return turns[~(waited > MOST_WAIT * seconds)]


def recurs(cell: str) -> bool:
    """Whether a model of this name is a recurrent one."""
    return cell not in BASELINES and cell != MATRIX_PRODUCT


def in_order(cells: set[str]) -> list[str]:
    """Simpler ones first, so that a ratio is that of the simpler one to the other."""
    return sorted(cells, key=lambda cell: (complexity(cell), cell))


def complexity(cell: str) -> int:
    """The place of a cell among all; what is not known stands behind them."""
    return SIMPLEST_FIRST.index(cell) if cell in SIMPLEST_FIRST else len(SIMPLEST_FIRST)
