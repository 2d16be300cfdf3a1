"""Timings taken while others used the processor (docs/clock.md): which they are, and what the other ones say.

It describes and decides nothing: a verdict reads all times that compare, disturbed or not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.analysis.decision import Interval, Sample
from bench.runs.contention import ContentionReading, is_disturbed

if TYPE_CHECKING:
    from bench.analysis.pairs import Pairs

_READ = ("train_seconds", "cpu_steal_fraction", "cpu_other_fraction", "cpu_wait_fraction")


def disturbed_timings(records: pd.DataFrame) -> pd.Series:
    """Whether each record's times were disturbed: by its own word, in records of earlier versions by the same rule.

    What is not known counts as not disturbed. Returns: bool, with the records' index.
    """
    said = _numbers(records, "timing_disturbed")
    disturbed = said == 1
    columns = [_numbers(records, name) for name in _READ]
    silent = np.flatnonzero(np.isnan(said) & ~np.all(np.isnan(columns[1:]), axis=0))
    for row in silent:
        seconds, steal, other, wait = (None if math.isnan(column[row]) else float(column[row]) for column in columns)
        reading = ContentionReading(cpu_steal_fraction=steal, cpu_other_fraction=other, cpu_wait_fraction=wait)
        disturbed[row] = is_disturbed(reading, seconds or 0.0) is True
    return pd.Series(disturbed, index=records.index, dtype=bool)


def _numbers(records: pd.DataFrame, name: str) -> np.ndarray:
    """A column of numbers or flags, (records,) float; NaN where a record lacks it."""
    if name not in records:
        return np.full(len(records), math.nan)
    return np.array(records[name].to_numpy(float, na_value=math.nan))


def disturbed_pairs(pairs: Pairs) -> np.ndarray:
    """Of the pairs whose times count (`Pairs.log_times`), whether either run's was disturbed. (pairs,) bool."""
    sides = [side.get("timing_disturbed", np.zeros(len(side["seed"]))) for side in pairs.runs]
    either = np.any([side == 1 for side in sides], axis=0)
    return np.asarray(either[: pairs.judged][pairs.timed()])


def undisturbed_time_ratio(pairs: Pairs) -> Interval | None:
    """The time ratio without disturbed pairs, with its repeated interval at the same look; None for fewer than two."""
    times = Sample.of(pairs.log_times()[~disturbed_pairs(pairs)])
    if times is None or not pairs.look:
        return None
    logs = pairs.ladder.interval(times, pairs.look)
    return Interval(estimate=math.exp(logs.estimate), low=math.exp(logs.low), high=math.exp(logs.high))
