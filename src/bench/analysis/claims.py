"""From the runs of a sweep and the claim that it was planned with to an answer: yes, no, or not shown.

Every measure of a claim is estimated once a seed, as the mean over tasks (data, and whatever else the grid varies
beside the arms), and judged by the two-sided t interval over seeds: *yes* where all of it lies on the claimed side of
the margin, *no* where none of it does, else *not shown*. Kinds:

    difference   arm − against, paired by seed and task
    ratio        arm / against, the same on a log scale
    interaction  slope of the paired difference over log₂ of a key, of five values at least: per doubling
    exponent     slope of the logarithm of a field over the logarithm of a key, minus that of `against` if there is one
    ladder       the longest length that is solved, arm over against (`bench.analysis.ladder`)

A claim holds where all of its measures do (an intersection-union test: the chance that a wrong claim gets a *yes* is
at most that of its most doubtful measure, Berger 1982) and fails where one of them does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pandas as pd

from bench.analysis.claim_runs import in_points, is_speed, measured_runs, pairs_of
from bench.analysis.ladder import longest_solved
from bench.analysis.statistics import t_interval
from bench.claims import LEAST_SIZES, RATIOS, ClaimConfig, Measure

Verdict = Literal["yes", "no", "not shown"]
YES: Final = "yes"
NO: Final = "no"
NOT_SHOWN: Final = "not shown"
_LEAST_POINTS = 3  # of an exponent
_LEAST_SEEDS = 4  # of a ladder, where four in five have to solve a length
_TO_JUDGE = {"interaction": LEAST_SIZES, "exponent": _LEAST_POINTS}


@dataclass(frozen=True)
class Found:
    """What the runs say of one measure.

    estimate, low, high: in the measure's unit, None where there is no interval;  seeds: pairs of runs that it rests on;
    tasks: what was averaged over;  samples: one row a seed and task, columns seed, task, value, in the same unit;
    runs: as from `measured_runs`;  notes: what to know beside it.
    """

    measure: Measure
    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    seeds: int
    tasks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    samples: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    runs: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    @property
    def unit(self) -> str:
        """What the estimate counts."""
        return unit_of(self.measure)

    @property
    def is_factor(self) -> bool:
        """Whether the estimate is a ratio, for which 1 means no difference."""
        return self.measure.kind in RATIOS


@dataclass(frozen=True)
class Answer:
    """What the runs say of a claim. name: of its question."""

    name: str
    claim: ClaimConfig
    verdict: Verdict
    found: tuple[Found, ...]


def answer(name: str, claim: ClaimConfig, runs: pd.DataFrame) -> Answer:
    """Answer a claim. runs: from `planned_runs`, those of its question."""
    found = tuple(judge(measure, runs, claim.alpha) for measure in claim.measures)
    verdicts = [entry.verdict for entry in found]
    if NO in verdicts:
        return Answer(name, claim, NO, found)
    return Answer(name, claim, YES if set(verdicts) == {YES} else NOT_SHOWN, found)


def judge(measure: Measure, runs: pd.DataFrame, alpha: float = 0.05) -> Found:
    """What the runs say of one measure. runs: from `planned_runs`."""
    measured = measured_runs(runs, measure)
    if measure.kind == "ladder":
        return _ladder(measure, measured)
    samples = _samples(measure, measured)
    by_seed = _complete(samples)
    notes = _notes(measure, measured, samples, by_seed)
    tasks = tuple(str(task) for task in by_seed.columns)
    shown = samples.assign(value=np.exp(samples["value"]) if measure.kind == "ratio" else samples["value"])
    if len(by_seed) < 2:
        estimate = float(by_seed.to_numpy().mean()) if len(by_seed) else None
        told = math.exp(estimate) if estimate is not None and measure.kind == "ratio" else estimate
        return Found(measure, NOT_SHOWN, told, None, None, len(by_seed), tasks, notes, shown, measured)
    values = by_seed.mean(axis=1).to_numpy(float)
    mean = float(values.mean())
    low, high = t_interval(mean, float(values.std(ddof=1)), len(values), alpha)
    margin = math.log(measure.least) if measure.kind == "ratio" else measure.least
    verdict = decided(measure, low, high, margin)
    if measure.kind == "ratio":
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return Found(measure, verdict, mean, low, high, len(values), tasks, notes, shown, measured)


def decided(measure: Measure, low: float, high: float, margin: float) -> Verdict:
    """On which side of the margin an interval lies. margin: on the scale of the interval, around 0."""
    if measure.direction == "equal":
        return YES if -margin < low and high < margin else NO if low > margin or high < -margin else NOT_SHOWN
    if measure.direction == "lower":
        low, high = -high, -low
    return YES if low > margin else NO if high <= margin else NOT_SHOWN


def unit_of(measure: Measure) -> str:
    """What an estimate of this measure counts, in words."""
    if measure.kind in RATIOS:
        return "times"
    if measure.kind == "exponent":
        return f"exponent of {measure.along}"
    unit = "points" if in_points(measure.field) else "bytes" if measure.field.endswith("bytes") else ""
    if measure.kind == "interaction":
        return f"{unit} per doubling of {measure.along}".strip()
    return unit


def _samples(measure: Measure, measured: pd.DataFrame) -> pd.DataFrame:
    """The value of every seed and task: columns seed, task, value; of ratios, their natural logarithm."""
    empty = pd.DataFrame({"seed": [], "task": [], "value": []})
    if measure.kind == "exponent" and measure.against is None:
        pairs = measured.rename(columns={"value": "one"}).assign(other=1.0)
    else:
        pairs = pairs_of(measured, measure)
    if pairs.empty:
        return empty
    if measure.kind in ("ratio", "exponent"):
        positive = (pairs["one"] > 0) & (pairs["other"] > 0)
        pairs = pairs[positive].assign(value=lambda table: np.log(table["one"] / table["other"]))
    else:
        pairs = pairs.assign(value=pairs["one"] - pairs["other"])
    if measure.kind not in _TO_JUDGE:
        return pairs[["seed", "task", "value"]]
    log = np.log2 if measure.kind == "interaction" else np.log
    rows = [
        {"seed": seed, "task": task, "value": float(np.polyfit(log(group["size"]), group["value"], 1)[0])}
        for (seed, task), group in pairs[pairs["size"] > 0].groupby(["seed", "task"])
        if group["size"].nunique() >= _TO_JUDGE[measure.kind]
    ]
    return pd.DataFrame(rows) if rows else empty


def _complete(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a seed and one column a task: tasks of two seeds or more, and the seeds that all of them have."""
    if samples.empty:
        return pd.DataFrame()
    table = samples.pivot_table(index="seed", columns="task", values="value")
    several = table.columns[table.notna().sum() >= 2]
    return table[several if len(several) else table.columns].dropna()


def _notes(measure: Measure, measured: pd.DataFrame, samples: pd.DataFrame, by_seed: pd.DataFrame) -> tuple[str, ...]:
    """What a reader should know beside the estimate."""
    arms = [measure.arm] if measure.against is None else [measure.arm, measure.against]
    lines = [f"no run of {arm} has {measure.field}" for arm in arms if not (measured["arm"] == arm).any()]
    if not lines and samples.empty and measure.kind in _TO_JUDGE:
        lines.append(f"needs {_TO_JUDGE[measure.kind]} values of {measure.along} for both arms of a seed")
    elif not lines and samples.empty and is_speed(measure.field):
        lines.append("no pair of runs was timed on the same hardware")
    elif not lines and len(by_seed) < 2:
        lines.append("needs two seeds or more")
    dropped = sorted(set(samples["task"]) - set(by_seed.columns))
    if dropped and len(by_seed.columns):
        lines.append(f"left out, too few pairs: {', '.join(dropped)}")
    fewer = samples["seed"].nunique() - len(by_seed)
    if len(by_seed) and fewer:
        lines.append(f"{fewer} seeds left out, which not all tasks have")
    if is_speed(measure.field) and (disturbed := int(measured["timing_disturbed"].sum())):
        lines.append(f"the timing of {disturbed} of {len(measured)} runs was disturbed by other programs")
    return tuple(lines)


def _ladder(measure: Measure, measured: pd.DataFrame) -> Found:
    """The longest solved length of one arm over that of the other; exact numbers, without an interval."""
    assert measure.along is not None
    runs = measured.rename(columns={"value": measure.field}).assign(**{measure.along: measured["size"]})
    if runs.empty:
        return Found(measure, NOT_SHOWN, None, None, None, 0, (), ("no run has finished",), runs=measured)
    table = longest_solved(runs, measure.along).drop_duplicates("arm").set_index("arm")
    seeds = int(runs.groupby("arm")["seed"].nunique().min())
    arms = (measure.arm, str(measure.against))
    if missing := [arm for arm in arms if arm not in table.index]:
        return Found(measure, NOT_SHOWN, None, None, None, seeds, (), (f"no run of {missing[0]}",), runs=measured)
    if seeds < _LEAST_SEEDS:
        return Found(measure, NOT_SHOWN, None, None, None, seeds, (), ("needs four seeds or more",), runs=measured)
    one, other = (_length(table.loc[arm, "longest"]) for arm in arms)
    longest = float(measured["size"].max())
    notes = tuple(f"{arm}: {_told(length, longest)}" for arm, length in zip(arms, (one, other), strict=True))
    if one == other:
        verdict: Verdict = NOT_SHOWN if one in (0, longest) else decided(measure, 0.0, 0.0, math.log(measure.least))
        return Found(measure, verdict, 1.0, None, None, seeds, (), notes, runs=measured)
    shortest = float(measured["size"].min())
    ratio = max(one, shortest / 2) / max(other, shortest / 2)  # nothing solved: less than the shortest
    verdict = decided(measure, math.log(ratio), math.log(ratio), math.log(measure.least))
    return Found(measure, verdict, ratio, None, None, seeds, (), notes, runs=measured)


def _length(value: object) -> float:
    return float(value) if isinstance(value, int | float | np.integer | np.floating) and value > 0 else 0.0


def _told(length: float, longest: float) -> str:
    if length == 0:
        return "none is solved"
    return f"at least {length:g}, the longest that was tried" if length == longest else f"up to {length:g}"


def tally(answers: Sequence[Answer]) -> dict[Verdict, int]:
    """How many claims got each answer."""
    return {word: sum(entry.verdict == word for entry in answers) for word in (YES, NO, NOT_SHOWN)}


def overall(answers: Sequence[Answer]) -> str:
    """One sentence on several claims."""
    counts = tally(answers)
    if len(answers) == 1:
        return sentence(answers[0])
    return (
        f"Of {len(answers)} claims, {counts[YES]} held here, {counts[NO]} did not, "
        f"and {counts[NOT_SHOWN]} were not shown either way."
    )


def sentence(entry: Answer) -> str:
    """The answer and the claim."""
    said = entry.claim.said
    return {
        YES: f"Yes, it held here: {said}.",
        NO: f"No, it did not hold here: {said}.",
        NOT_SHOWN: f"Not shown either way: {said}.",
    }[entry.verdict]
