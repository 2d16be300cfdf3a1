"""One arm before and after: quality by paired seeds against what a new seed changes anyway, and the ratio of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis.decision import Interval
from bench.analysis.matching import first_by_seed
from bench.analysis.noise import FEWEST_SEEDS, mean_interval, paired_p, seed_noise
from bench.analysis.statistics import holm, ratio_interval
from bench.runs.record import Status

Changed = Literal["yes", "no", "undecided", "refused"]
EXACT = (  # equal where a repetition is bit-equal
    "test_accuracy",
    "test_macro_f1",
    "test_log_loss",
    "test_correct",
    "validation_accuracy",
    "best_epoch",
)


@dataclass(frozen=True, kw_only=True)
class ArmDifference:
    """One arm before and after. Differences are after minus before, in percentage points; ratios after over before."""

    arm: str  # as the records before name it
    dataset: str
    metric: Literal["test accuracy", "validation accuracy"]
    seeds_before: int  # with a finished run
    seeds_after: int
    failed_before: int  # seeds without a finished run
    failed_after: int
    paired: int  # seeds with a finished run on both sides
    identical: int  # of the pairs: every quality number and every predicted label's correctness equal
    accuracy_before: float | None  # fraction of 1: mean over the pairs, over all seeds where none pair
    accuracy_after: float | None
    difference: Interval | None  # 95% for alpha=0.05, paired by seed
    seed_noise: float | None  # points that a new seed may be away from the mean of those before
    p: float | None  # paired t test of no difference
    p_holm: float | None  # adjusted for the number of arms
    changed: Changed
    reason: str  # for `changed`, in words
    time_ratio: Interval | None  # train_seconds on one kind of hardware
    time_pairs: int
    time_reason: str  # which hardware, or why there is no ratio


def arm_difference(rows: pd.DataFrame, alpha: float) -> ArmDifference:
    """Everything but the adjustment for the number of arms."""
    finished = rows[rows.status == Status.FINISHED]
    before, after = (first_by_seed(finished[finished.side == side]) for side in ("before", "after"))
    seeds = before.index.intersection(after.index)
    tested = bool(len(finished)) and bool(finished.test_accuracy.notna().all())
    column = "test_accuracy" if tested else "validation_accuracy"
    shown = seeds if len(seeds) else slice(None)
    deltas = 100 * (after.loc[seeds, column] - before.loc[seeds, column]).to_numpy(float)
    started = {side: rows[rows.side == side].seed.nunique() for side in ("before", "after")}
    time_ratio, time_pairs, time_reason = _time_ratio(finished, alpha)
    noise = seed_noise((100 * before[column]).tolist(), alpha)
    made = ArmDifference(
        arm=str(rows.arm.iat[0]),
        dataset=str(rows["data.name"].iat[0]),
        metric="test accuracy" if tested else "validation accuracy",
        seeds_before=len(before),
        seeds_after=len(after),
        failed_before=started["before"] - len(before),
        failed_after=started["after"] - len(after),
        paired=len(seeds),
        identical=_identical(before.loc[seeds], after.loc[seeds]),
        accuracy_before=_mean(before.loc[shown, column]),
        accuracy_after=_mean(after.loc[shown, column]),
        difference=mean_interval(deltas, alpha),
        seed_noise=noise,
        p=paired_p(deltas),
        p_holm=None,
        changed="undecided",
        reason="",
        time_ratio=time_ratio,
        time_pairs=time_pairs,
        time_reason=time_reason,
    )
    return _without_quality(made, before, after)


def _without_quality(arm: ArmDifference, before: pd.DataFrame, after: pd.DataFrame) -> ArmDifference:
    """The same, its quality refused if the two sides read other data."""
    data = [sorted(set(side.data_fingerprint.dropna())) for side in (before, after)]
    if data[0] == data[1] or not all(data):
        return arm
    reason = f"the data differ ({', '.join(data[0])} before, {', '.join(data[1])} after): qualities do not compare"
    return replace(arm, difference=None, p=None, identical=0, changed="refused", reason=reason)


def with_holm(arms: Sequence[ArmDifference], alpha: float) -> list[ArmDifference]:
    """The same arms with adjusted p values and an answer."""
    p_values = [arm.p for arm in arms if arm.p is not None]
    adjusted = iter(holm(p_values))
    judged = [arm if arm.p is None else replace(arm, p_holm=next(adjusted)) for arm in arms]
    return [arm if arm.changed == "refused" else _judged(arm, alpha) for arm in judged]


def _judged(arm: ArmDifference, alpha: float) -> ArmDifference:
    found, noise = arm.difference, arm.seed_noise
    if not arm.paired:
        return replace(arm, reason="no seed has a finished run on both sides")
    if arm.identical == arm.paired:
        return replace(arm, changed="no", reason=f"bit-equal for {arm.paired} of {arm.paired} seeds")
    if found is None or noise is None or arm.paired < FEWEST_SEEDS:
        return replace(arm, reason=f"{arm.paired} paired seeds show no spread: three or more are needed")
    if arm.p_holm is not None and arm.p_holm <= alpha:
        return replace(arm, changed="yes", reason=f"p = {arm.p_holm:.3g} over all arms (Holm)")
    if -noise < found.low and found.high < noise:
        return replace(arm, changed="no", reason=f"within what one seed changes, {noise:.2g} points")
    return replace(
        arm, reason=f"the interval reaches beyond what one seed changes, {noise:.2g} points: more seeds would tell"
    )


def _identical(before: pd.DataFrame, after: pd.DataFrame) -> int:
    """Pairs of which no quality number that both records hold differs, and at least one is held."""
    equal = np.ones(len(before), bool)
    compared = np.zeros(len(before), bool)
    for name in (name for name in EXACT if name in before):
        both = (before[name].notna() & after[name].notna()).to_numpy(bool)
        equal &= ~both | (before[name] == after[name]).to_numpy(bool)
        compared |= both
    return int((equal & compared).sum())


def _time_ratio(finished: pd.DataFrame, alpha: float) -> tuple[Interval | None, int, str]:
    """Ratio of training times over pairs on the hardware that measured most of them; how many; which, or why not."""
    if (finished["model.match"] == "time").any():
        return None, 0, "equal wall-clock by design"
    timed = finished[finished.train_seconds > 0]
    sides = timed.groupby(["hardware_key", "seed", "side"]).train_seconds.median().unstack("side")
    pairs = sides.reindex(columns=["before", "after"]).dropna()
    if pairs.empty:
        return None, 0, _why_no_time(timed)
    counts = pairs.groupby(level="hardware_key").size()
    key = str(counts.idxmax())
    chosen = pairs.xs(key, level="hardware_key")
    if len(chosen) < 2:
        return None, 1, f"one pair on {key} shows no spread"
    logarithms = np.log(chosen["after"].to_numpy(float) / chosen["before"].to_numpy(float))
    estimate, low, high = ratio_interval(logarithms, alpha)
    ratio = Interval(estimate=estimate, low=low, high=high)
    return ratio, len(chosen), f"on {key}"


def _why_no_time(timed: pd.DataFrame) -> str:
    keys = {side: sorted(set(timed[timed.side == side].hardware_key)) for side in ("before", "after")}
    if not all(keys.values()):
        return "no training times recorded " + " and ".join(side for side, found in keys.items() if not found)
    if set(keys["before"]) & set(keys["after"]):
        return "no seed was timed on both sides"
    return f"other hardware: {', '.join(keys['before'])} before, {', '.join(keys['after'])} after"


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) else None
