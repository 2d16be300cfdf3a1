"""Over datasets: how arms do on all tasks together, and what a rule of thumb would have cost on them.

A task is one `scene` (data and vectors; matching and pooling are the caller's choice). Every function takes the tidy
table of runs and gives a table, qualities in percent and differences in points; what cannot be known is missing
(`<NA>`), never NaN. Only seeds that all compared arms answered count, so that no arm has the easier mix of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis import statistics
from bench.seeds import generator

Margin = float | Mapping[int, float]  # points, one for all tasks or by scene
Floats = NDArray[np.float64]
Statistic = Callable[[list[Floats]], Floats]  # of (resamples, runs) arrays, one a task -> (resamples,)

_RESAMPLES = 1000  # of every bootstrap
_TASK = ["scene", "dataset", "embedding"]


def complete(runs: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """The runs of (task, seed) that every one of the arms answered; an arm without any run is left out of account."""
    chosen = runs[runs["arm"].isin(list(arms)) & runs["quality"].notna()]
    answered = chosen.groupby(["scene", "seed"])["arm"].transform("nunique")
    return chosen[answered == chosen["arm"].nunique()].sort_values(["scene", "seed", "arm"], ignore_index=True)


def paired(runs: pd.DataFrame, baseline: str, alternative: str) -> pd.DataFrame:
    """Runs of two arms side by side: a row per task × seed, `delta` = alternative minus baseline in points.

    Columns of both sides end in `_baseline` and `_alternative`; qualities are percent. `timed` is true where both ran
    on one hardware and have a time.
    Raises: `pandas.errors.MergeError` if an arm has two runs of one task and seed.
    """
    measured = ["quality", "validation_accuracy", "train_seconds", "parameters_total", "hardware_key"]
    known = runs.loc[runs["quality"].notna(), [*_TASK, "seed", "arm", *measured]]
    known = known.astype(dict.fromkeys(measured[:-1], float)).assign(quality=lambda rows: 100 * rows["quality"])
    sides = [known[known["arm"] == arm].drop(columns="arm") for arm in (baseline, alternative)]
    keys = [*_TASK, "seed"]
    table = sides[0].merge(sides[1], on=keys, suffixes=("_baseline", "_alternative"), validate="one_to_one")
    delta = (table["quality_alternative"] - table["quality_baseline"]).round(9)
    together = (table["hardware_key_baseline"] == table["hardware_key_alternative"]).fillna(False).astype(bool)
    timed = together & table[["train_seconds_baseline", "train_seconds_alternative"]].notna().all(axis=1)
    return table.assign(delta=delta, timed=timed).sort_values(keys, ignore_index=True)


def aggregate(runs: pd.DataFrame, arms: Sequence[str], seed: int, alpha: float = 0.05) -> pd.DataFrame:
    """Mean and interquartile mean over the runs of all tasks, with stratified bootstrap intervals: a row per arm.

    Columns: arm, runs, tasks, mean, mean_low, mean_high, iqm, iqm_low, iqm_high. Bounds are missing where a task has
    one seed only. Source: Agarwal et al. (2021), Deep RL at the edge of the statistical precipice (rliable).
    """
    rows = []
    for arm, tasks in _by_arm(runs, arms).items():
        everything = np.concatenate(tasks)
        mean = (everything.mean(), *_bounds(tasks, _mean, seed, alpha))
        iqm = (statistics.interquartile_mean(everything), *_bounds(tasks, _iqm, seed, alpha))
        rows.append((arm, len(everything), len(tasks), *mean, *iqm))
    columns = ["arm", "runs", "tasks", "mean", "mean_low", "mean_high", "iqm", "iqm_low", "iqm_high"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], "Float64"))


def performance_profile(
    runs: pd.DataFrame, arms: Sequence[str], seed: int, points: int = 101, alpha: float = 0.05
) -> pd.DataFrame:
    """Share of an arm's runs whose quality lies above τ, for τ over the range that occurs: a row per arm × τ.

    Columns: arm, quality (τ), share, low, high (fractions of 1; pointwise stratified bootstrap, missing as in
    `aggregate`), runs, tasks. Source: Agarwal et al. (2021), section 4.3.
    """
    columns = ["arm", "quality", "share", "low", "high", "runs", "tasks"]
    values = _by_arm(runs, arms)
    if not values:
        return pd.DataFrame(columns=columns)
    everything = np.concatenate([quality for tasks in values.values() for quality in tasks])
    levels = np.linspace(everything.min(), everything.max(), points)
    parts = []
    for arm, tasks in values.items():
        below = [np.searchsorted(levels, quality) for quality in tasks]  # how many levels lie below each run
        share, low, high = _shares_above(below, points, seed, alpha)
        held = (arm, levels, share, low, high, sum(map(len, tasks)), len(tasks))
        parts.append(pd.DataFrame(dict(zip(columns, held, strict=True))))
    return pd.concat(parts, ignore_index=True).astype({"low": "Float64", "high": "Float64"})


@dataclass(frozen=True)
class Improvement:
    """Probability that a run of the alternative beats one of the baseline, mean over tasks."""

    probability: float
    low: float | None  # None where a task has one seed only
    high: float | None
    tasks: int
    runs: int  # of each arm


def improvement(
    runs: pd.DataFrame, baseline: str, alternative: str, seed: int, alpha: float = 0.05
) -> Improvement | None:
    """P(alternative > baseline) + P(equal) / 2 within each task, averaged; None where no task has both arms.

    Its interval is a stratified bootstrap over the runs of both arms. Source: Agarwal et al. (2021), section 4.3.
    """
    values = _by_arm(runs, [baseline, alternative])
    if len(values) < 2:
        return None
    first, second = values[baseline], values[alternative]
    beats = [np.sign(b[:, None] - a[None, :]) / 2 + 0.5 for a, b in zip(first, second, strict=True)]

    def resampled(drawn: list[Floats]) -> Floats:
        """drawn: numbers of runs, tasks of the baseline and then of the alternative."""
        sides = zip(beats, drawn[: len(first)], drawn[len(first) :], strict=True)
        means = [_mean_of_drawn(table, b.astype(int), a.astype(int)) for table, a, b in sides]
        return np.asarray(np.mean(means, axis=0))

    probability = statistics.probability_of_improvement(first, second)
    low, high = _bounds([np.arange(len(quality), dtype=float) for quality in (*first, *second)], resampled, seed, alpha)
    return Improvement(probability, low, high, tasks=len(first), runs=sum(map(len, first)))


def wins_and_losses(table: pd.DataFrame, margin: Margin) -> pd.DataFrame:
    """Tasks that the alternative wins, ties or loses: by its mean difference, beyond the margin or within it.

    table: as `paired` gives it.
    Columns: scene, dataset, embedding, pairs, difference, wins, ties, losses (1 or 0). The last row sums them over
    tasks: its scene is -1, its dataset "all", its difference the mean over tasks.
    """
    rows = table.groupby(_TASK).agg(pairs=("delta", "size"), difference=("delta", "mean")).reset_index()
    judged = zip(rows["difference"].round(9), _margins(rows["scene"], margin), strict=True)
    counts = [statistics.win_tie_loss([difference], limit) for difference, limit in judged]
    rows = rows.join(pd.DataFrame(map(asdict, counts), columns=["wins", "ties", "losses"]))
    total = rows[["pairs", "wins", "ties", "losses"]].sum().to_frame().T.assign(difference=rows["difference"].mean())
    total = total.assign(scene=-1, dataset="all", embedding="all")
    return pd.concat([rows, total[rows.columns]], ignore_index=True) if len(rows) else rows


def policies(runs: pd.DataFrame, baseline: str, alternative: str, margin: Margin) -> pd.DataFrame:
    """What three rules of thumb would have cost and lost: a row per task × policy, then the mean over tasks ("all").

    Baseline first and alternative first train one arm and ship it. Run both trains both with one seed and ships the
    one of higher validation accuracy; on a tie the one that trained faster (on other hardware: with fewer parameters).
    Columns: scene, dataset, embedding, policy, pairs, timed_pairs, train_seconds (mean over pairs that share a
    hardware key; of both arms where both are trained), quality, loss (points below the better arm's mean; negative
    where choosing by seed beat it), wrong (share of pairs where the other arm was better by more than the margin),
    alternative (share of pairs where it was shipped).
    """
    table = paired(runs, baseline, alternative)
    table["margin"] = _margins(table["scene"], margin)
    parts = [_outcome(table, shipped, seconds).assign(policy=name) for name, shipped, seconds in _choices(table)]
    groups = pd.concat(parts).groupby([*_TASK, "policy"], sort=False)
    rows = groups.mean().assign(pairs=groups.size(), timed_pairs=groups["timed_pairs"].sum()).reset_index()
    totals = rows.drop(columns=_TASK).groupby("policy", sort=False)
    total = totals.mean().assign(pairs=totals["pairs"].sum(), timed_pairs=totals["timed_pairs"].sum()).reset_index()
    rows = pd.concat([rows.sort_values("scene", kind="stable"), total.assign(scene=-1, dataset="all", embedding="all")])
    columns = [*_TASK, "policy", "pairs", "timed_pairs", "train_seconds", "quality", "loss", "wrong", "alternative"]
    return rows[columns].reset_index(drop=True).round({"loss": 9}).astype({"train_seconds": "Float64"})


def _by_arm(runs: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[Floats]]:
    """Each arm's qualities (percent), an array a task; tasks and seeds in the same order for every arm."""
    values: dict[str, list[Floats]] = {}
    shared = complete(runs, arms)
    for (_, arm), quality in shared.groupby(["scene", "arm"])["quality"]:
        values.setdefault(str(arm), []).append(np.array(100 * quality, np.float64))
    return {arm: values[arm] for arm in arms if arm in values}


def _mean(drawn: list[Floats]) -> Floats:
    return np.asarray(sum(runs.sum(axis=1) for runs in drawn) / sum(runs.shape[1] for runs in drawn))


def _iqm(drawn: list[Floats]) -> Floats:
    runs = np.sort(np.concatenate(drawn, axis=1), axis=1)  # faster than to partition
    cut = runs.shape[1] // 4
    return np.asarray(runs[:, cut : runs.shape[1] - cut].mean(axis=1))


def _bounds(tasks: list[Floats], statistic: Statistic, seed: int, alpha: float) -> tuple[float | None, float | None]:
    """Stratified bootstrap interval; unknown where a task has one seed, whose spread nobody knows."""
    if min(map(len, tasks)) < 2:
        return None, None
    return statistics.stratified_bootstrap(tasks, statistic, seed, alpha, _RESAMPLES)


def _shares_above(below: list[NDArray[np.int64]], points: int, seed: int, alpha: float) -> tuple[Floats, ...]:
    """Share of runs above each level, with its bounds. below: how many levels lie below each run, an array a task."""
    draw = generator(seed, "bootstrap")
    drawn = [task[draw.integers(len(task), size=(_RESAMPLES, len(task)))] for task in below]
    shares = _above(np.concatenate(drawn, axis=1), points)
    low, high = np.quantile(shares, [alpha / 2, 1 - alpha / 2], axis=0)
    unknown = np.nan if min(map(len, below)) < 2 else 0.0
    return _above(np.concatenate(below)[None], points)[0], low + unknown, high + unknown


def _above(below: NDArray[np.int64], points: int) -> Floats:
    """Share of runs above each level. below: (resamples, runs) levels below each run -> (resamples, points)."""
    return np.asarray(np.cumsum(_counts(below, points + 1)[:, ::-1], axis=1)[:, -2::-1] / below.shape[1])


def _mean_of_drawn(table: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Mean of table[rows, columns] over all drawn rows and columns. rows, columns: (resamples, draws)."""
    sums = _counts(rows, len(table)).astype(np.float32) @ table.astype(np.float32)  # of halves: exact
    return np.asarray(np.take_along_axis(sums, columns, axis=1).mean(axis=1, dtype=float) / rows.shape[1])


def _counts(drawn: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How often each number below `size` was drawn. drawn: (resamples, draws) -> (resamples, size)."""
    offsets = np.arange(len(drawn))[:, None] * size
    return np.bincount((drawn + offsets).ravel(), minlength=len(drawn) * size).reshape(len(drawn), size)


def _choices(table: pd.DataFrame) -> list[tuple[str, pd.Series[bool], pd.Series[float]]]:
    """Each policy's name, where it ships the alternative, and the seconds that it trains. table: as of `paired`."""
    validation = table["validation_accuracy_alternative"] - table["validation_accuracy_baseline"]
    seconds, seconds_alternative = table["train_seconds_baseline"], table["train_seconds_alternative"]
    smaller = table["parameters_total_alternative"] < table["parameters_total_baseline"]
    cheaper = (seconds_alternative < seconds).where(table["timed"], smaller)
    never = pd.Series(False, index=table.index)
    return [
        ("baseline_first", never, seconds),
        ("alternative_first", ~never, seconds_alternative),
        ("run_both", (validation > 0) | (cheaper & ~(validation < 0)), seconds + seconds_alternative),
    ]


def _outcome(table: pd.DataFrame, shipped: pd.Series[bool], seconds: pd.Series[float]) -> pd.DataFrame:
    """What shipping the alternative (where `shipped`) or the baseline gave, a row a pair."""
    better = table.groupby("scene")[["quality_baseline", "quality_alternative"]].transform("mean").max(axis=1)
    quality = table["quality_alternative"].where(shipped, table["quality_baseline"])
    gain = table["delta"].where(~shipped, -table["delta"])  # had the other arm been shipped
    return table[_TASK].assign(
        timed_pairs=table["timed"].astype(int),
        train_seconds=seconds.where(table["timed"]),
        quality=quality,
        loss=better - quality,
        wrong=(gain > table["margin"]).astype(float),
        alternative=shipped.astype(float),
    )


def _margins(scenes: pd.Series[int], margin: Margin) -> list[float]:
    """The margin of each row."""
    return [margin[int(scene)] if isinstance(margin, Mapping) else margin for scene in scenes]
