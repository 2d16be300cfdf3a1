"""Quality against what it costs: seconds, weights, length of text, training texts, tuning trials.

Every function takes the tidy table of runs and gives a table of its own, with qualities in percent and differences in
points. What cannot be known (one seed has no spread) is missing (`<NA>`), never NaN. Seconds are compared within one
`hardware_key` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.best_of import Floats, best_quantile, expected_best

Cost = Literal["train_seconds", "parameters_recurrent", "parameters_total"]
Scale = Literal["log", "linear"]
Integers = NDArray[np.int64]

_SCENE = ["scene", "dataset", "embedding", "pooling", "matching"]
_PLACE = [*_SCENE, "hardware_key"]
_SLACK = 1.0  # points below the weakest arm's mean, which every arm should reach


def frontier(runs: pd.DataFrame, cost: Cost, alpha: float = 0.05) -> pd.DataFrame:
    """Mean quality against mean cost: a row per scene × arm, and per hardware key where the cost is time.

    Columns: those of the scene, hardware_key ("" unless the cost is time), arm, runs, quality, low, high (t interval
    over seeds), cost, dominated: another arm in the same place is no worse in both and better in one.
    """
    known = runs[runs[cost].notna() & runs["quality"].notna()]
    if cost != "train_seconds":
        known = known.assign(hardware_key="")
    rows = _means(known, [*_PLACE, "arm"], "quality", alpha)
    rows["cost"] = known.groupby([*_PLACE, "arm"], dropna=False)[cost].mean().to_numpy(float)
    pairs = rows.reset_index().merge(rows, on=_PLACE, suffixes=("", "_other"))
    worse = (pairs["quality_other"] >= pairs["quality"]) & (pairs["cost_other"] <= pairs["cost"])
    apart = (pairs["quality_other"] > pairs["quality"]) | (pairs["cost_other"] < pairs["cost"])
    return rows.assign(dominated=rows.index.isin(pairs.loc[worse & apart, "index"]))


def learning_curves(runs: pd.DataFrame, points: int = 60, scale: Scale = "log") -> pd.DataFrame:
    """Validation accuracy against seconds of training: a row per scene × hardware × arm × grid point.

    A run's curve is a step function: it holds its best accuracy until that is beaten, also after the run's end. The
    grid spans all curves in one place. An arm's line begins where each of its runs has been evaluated once.
    Columns: those of the scene, hardware_key, arm, seconds, accuracy (mean), low and high (10 % and 90 % of the runs),
    seeds.
    """
    runs, curves = _curves(runs)
    place = runs.groupby(_PLACE, dropna=False).ngroup()
    grid, cells = _grid(curves["seconds"], curves["run"].map(place), points, scale)
    held = np.full((len(runs), points), -np.inf)
    np.maximum.at(held, (curves["run"].to_numpy(), cells), 100 * curves["accuracy"].to_numpy())
    held = np.maximum.accumulate(held, axis=1)
    keys = [*_PLACE, "arm"]
    names = runs[keys].drop_duplicates(ignore_index=True)
    line = runs.groupby(keys, dropna=False, sort=False).ngroup().to_numpy(int)
    bands = [_band(held[line == number], grid[place[line == number].iloc[0]]) for number in range(len(names))]
    rows = names.loc[np.repeat(names.index, [len(band) for band in bands])].reset_index(drop=True)
    columns = ["seconds", "accuracy", "low", "high", "seeds"]
    values = np.concatenate([np.empty((0, len(columns))), *bands])
    return rows.join(pd.DataFrame(values, columns=columns)).astype({"seeds": int})


def time_to_target(runs: pd.DataFrame) -> pd.DataFrame:
    """Seconds of training until validation accuracy first reached a target: a row per scene × hardware × arm.

    The target is `target_accuracy` where the data name one, fixed before the runs (target_from "data"). Elsewhere it
    is one point below the mean best accuracy of the scene's weakest arm, a level that a typical run of every arm
    reaches, so that times compare (target_from "runs": chosen after the fact, it describes and proves nothing).
    Columns: those of the scene, hardware_key, arm, target, target_from, runs, reached (share of runs), seconds (median
    over all runs, the unreached counted as infinite: missing where half of them or more did not reach it).
    """
    runs, curves = _curves(runs)
    best = 100 * curves.groupby("run")["accuracy"].max()
    weakest = best.groupby([runs["scene"], runs["arm"]]).mean().groupby("scene").min() - _SLACK
    given = 100 * runs["target_accuracy"].astype(float).groupby(runs["scene"]).transform("max")
    runs = runs.assign(target=given.fillna(runs["scene"].map(weakest)).astype(float))
    runs["target_from"] = np.where(given.notna(), "data", "runs")
    reached = curves[100 * curves["accuracy"] >= curves["run"].map(runs["target"])]
    runs["seconds"] = reached.groupby("run")["seconds"].min().reindex(runs.index).fillna(np.inf)
    runs["reached"] = np.isfinite(runs["seconds"])
    groups = runs.groupby([*_PLACE, "arm", "target", "target_from"], dropna=False)
    rows = groups.agg(runs=("seed", "size"), reached=("reached", "mean"), seconds=("seconds", "median")).reset_index()
    return rows.assign(seconds=_known(rows["seconds"].replace(np.inf, np.nan)))


def by_length(runs: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Test accuracy by length of text: a row per scene × arm × class of length.

    Columns: those of the scene, arm, longest (tokens), texts (in one test set), runs, accuracy (mean over runs), low,
    high: Wilson's score interval over the texts, for other texts of this length (Brown, Cai & DasGupta 2001).
    """
    keys = [*_SCENE, "arm", "longest"]
    groups = _by_length(runs).groupby(keys, dropna=False)
    rows = groups.agg(texts=("texts", "max"), runs=("seed", "size"), accuracy=("accuracy", "mean")).reset_index()
    low, high = _wilson(rows["accuracy"].to_numpy(float), rows["texts"].to_numpy(float), alpha)
    return rows.assign(accuracy=100 * rows["accuracy"], low=100 * low, high=100 * high)


def length_differences(runs: pd.DataFrame, baseline: str, alternative: str, alpha: float = 0.05) -> pd.DataFrame:
    """Accuracy of the alternative minus the baseline's, paired by seed: a row per scene × class of length.

    Columns: those of the scene, longest (tokens), texts, runs (pairs), difference, low, high (points; t interval over
    seeds, for this test set).
    """
    table = _by_length(runs)
    keys = [*_SCENE, "longest", "texts"]
    sides = [table.loc[table["arm"] == arm, [*keys, "seed", "accuracy"]] for arm in (baseline, alternative)]
    pairs = sides[0].merge(sides[1], on=[*keys, "seed"], suffixes=("", "_alternative"), validate="one_to_one")
    pairs = pairs.assign(difference=pairs["accuracy_alternative"] - pairs["accuracy"], test_texts=pairs["texts"])
    return _means(pairs, keys, "difference", alpha)


def by_training_size(runs: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Quality against the number of training texts: a row per scene × arm; empty where no data come in two sizes.

    runs: of all scenes, several matchings and poolings too.
    Columns: those of the scene, train_texts (median of the scene), arm, runs, quality, low, high.
    """
    sizes = runs["train_texts"].astype(float).groupby(runs["scene"]).transform("median").round()
    known = runs.assign(train_texts=sizes)[sizes.notna() & runs["quality"].notna()]
    series = known.groupby(["dataset", "embedding", "pooling", "matching"], dropna=False)["train_texts"]
    known = known[series.transform("nunique") > 1].astype({"train_texts": int})
    return _means(known, [*_SCENE, "train_texts", "arm"], "quality", alpha)


def by_budget(trials: pd.DataFrame, *, independent: bool = True) -> pd.DataFrame:
    """Quality of the best of k tuning trials, for every k up to the number that ran: a row per dataset × arm × k.

    trials: one row a trial with dataset, arm, trial (its number), validation_quality (fraction of 1; missing where the
    trial failed or was stopped early);  independent: random draws, none of them stopped early.
    Of independent draws it is what is expected (`expected_best`), a failed trial counted as 0, with a band from the
    tenth to the ninetieth percentile of what k new draws would give (`best_quantile`). Where each trial learns from
    the earlier ones there is one search alone: the best of its first k trials, without a band, from the first k that
    has one.
    Columns: dataset, arm, trials (k), quality, low, high.
    """
    parts = [pd.DataFrame({"dataset": [], "arm": []}).assign(**_budget(np.array([]), independent))]
    for (dataset, arm), group in trials.sort_values("trial").groupby(["dataset", "arm"]):
        values = _budget(group["validation_quality"].to_numpy(np.float64, na_value=np.nan), independent)
        parts.append(pd.DataFrame({"dataset": dataset, "arm": arm, **values}))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _budget(quality: Floats, independent: bool) -> dict[str, pd.Series[float] | Integers]:
    """The columns of one arm. quality: by number of trial, NaN where there is none."""
    k = np.arange(1, len(quality) + 1)
    if independent:
        known = np.nan_to_num(quality)
        low, high = (best_quantile(known, share) for share in (0.1, 0.9))
        return {"trials": k, "quality": pd.Series(100 * expected_best(known)), "low": _known(pd.Series(100 * low)),
                "high": _known(pd.Series(100 * high))}  # fmt: skip
    best = np.fmax.accumulate(quality) if len(quality) else quality
    begun = ~np.isnan(best)
    absent = _known(pd.Series(np.full(begun.sum(), np.nan)))
    return {"trials": k[begun], "quality": pd.Series(100 * best[begun]), "low": absent, "high": absent}


def _means(frame: pd.DataFrame, keys: Sequence[str], column: str, alpha: float) -> pd.DataFrame:
    """Number, mean and t interval over seeds of a column of fractions, in percent, by group.

    Where all values are equal their spread is that of rounding to whole texts, not zero.
    """
    groups = frame.astype({column: float, "test_texts": float}).groupby(list(keys), dropna=False)
    rows = groups.agg(
        runs=(column, "size"), mean=(column, "mean"), sd=(column, "std"), texts_=("test_texts", "median")
    ).reset_index()
    rounding = 1 / np.sqrt(12) / rows["texts_"].fillna(np.inf)
    sd = rows["sd"].mask(rows["sd"] < 1e-12, rounding)
    half = stats.t.ppf(1 - alpha / 2, rows["runs"] - 1) * sd / np.sqrt(rows["runs"])
    bounds = {"low": _known(100 * (rows["mean"] - half)), "high": _known(100 * (rows["mean"] + half))}
    return rows.drop(columns=["mean", "sd", "texts_"]).assign(**{column: 100 * rows["mean"]}, **bounds)


def _known(values: pd.Series[float]) -> pd.Series[float]:
    """The values with NaN made missing."""
    return values.astype(float).astype("Float64")


def _long(lists: pd.Series[str], names: Sequence[str]) -> pd.DataFrame:
    """JSON lists of rows as one table; column `run` is the index of the list it came from."""
    if lists.empty:
        return pd.DataFrame(columns=[*names, "run"]).astype(dict.fromkeys(names, float) | {"run": int})
    text = "\n".join([f'{{"rows": {rows}}}' for rows in lists.to_list()]).encode()
    schema = pa.schema([("rows", pa.list_(pa.list_(pa.float64())))])
    rows = pyarrow.json.read_json(
        pa.BufferReader(text),
        pyarrow.json.ReadOptions(block_size=len(text) + 1, use_threads=False),
        pyarrow.json.ParseOptions(explicit_schema=schema),
    )["rows"].combine_chunks()  # thrice as fast as the standard library
    values = rows.flatten().flatten().to_numpy().reshape(-1, len(names))
    table = pd.DataFrame(values, columns=list(names))
    return table.assign(run=np.repeat(lists.index.to_numpy(int), rows.value_lengths().to_numpy()))


def _curves(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs that have a validation curve, numbered from 0, and their curves: seconds, accuracy, run."""
    runs = runs[runs["validation_curve"].fillna("[]") != "[]"].reset_index(drop=True)
    return runs, _long(runs["validation_curve"], ["seconds", "accuracy"])


def _by_length(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per run × class of length: scene, arm, seed, longest, texts, accuracy (fraction of 1)."""
    runs = runs[runs["test_by_length"].notna()].reset_index(drop=True)
    table = _long(runs["test_by_length"], ["longest", "texts", "correct"])
    table = table[table["texts"] > 0].astype({"longest": int, "texts": int})
    table["accuracy"] = table["correct"] / table["texts"]
    return table.merge(runs[[*_SCENE, "arm", "seed"]], left_on="run", right_index=True)


def _grid(seconds: pd.Series[float], place: pd.Series[int], points: int, scale: Scale) -> tuple[Floats, Integers]:
    """Times from the first to the last in each place, (places, points), and the first of them at or after each time.

    Times of zero (all steps were warm-up) count as the shortest other one.
    """
    start = seconds.where(seconds > 0).groupby(place).min().fillna(1.0)
    shortest = place.map(start).astype(float)
    ends = pd.DataFrame({"start": start, "end": seconds.clip(lower=shortest).groupby(place).max()}).astype(float)
    forward, back = (np.log, np.exp) if scale == "log" else (np.asarray, np.asarray)
    first, last = forward(ends["start"].to_numpy()), forward(ends["end"].to_numpy())
    grid: Floats = back(first[:, None] + (last - first)[:, None] * np.linspace(0, 1, points))
    where = place.to_numpy(int)
    passed = forward(seconds.clip(lower=shortest).to_numpy(float)) - first[where]
    step = np.where(last > first, last - first, 1.0)[where] / max(points - 1, 1)
    return grid, np.clip(np.ceil(passed / step - 1e-9), 0, points - 1).astype(int)


def _band(held: Floats, grid: Floats) -> Floats:
    """Seconds, mean, band and number of one arm's step functions, (times, 5).

    held: (runs, points), -inf before the first evaluation.
    """
    seen = np.isfinite(held).all(axis=0) & (np.diff(grid, prepend=-np.inf) > 0)
    low, high = np.quantile(held[:, seen], [0.1, 0.9], axis=0)
    return np.stack([grid[seen], held[:, seen].mean(axis=0), low, high, np.full(low.shape, len(held))], axis=1)


def _wilson(share: Floats, n: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a share of n."""
    z2 = stats.norm.ppf(1 - alpha / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return middle - half, middle + half
