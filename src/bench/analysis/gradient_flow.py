"""Gradient flow over the runs of an arm: what records with `training.gradient_flow=true` say together.

Every function takes a table of runs as `bench.records` gives it, with columns `task` and `arm` beside its own, and
gives a table of its own. Factors and norms are averaged by their logarithms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.runs.decay import half_life

Floats = NDArray[np.float64]
Curves = Mapping[str, list[list[float]]]

FIRST, BEST = "at initialisation", "after training"  # values of column `moment`
HIDDEN, CAROUSEL = "hidden", "carousel"  # values of column `state`: ∂L/∂h_t, ∂L/∂c_t
_SUFFIX = {FIRST: "_initial", BEST: ""}
_FACTORS = {"decay": "gradient_decay_per_step", "carousel_decay": "carousel_decay_per_step"}
_MEANS = {
    "singular_value": "recurrent_singular_value", "spectral_radius": "recurrent_spectral_radius",
    "derivative": "activation_derivative", "saturation": "gate_saturation",
}  # fmt: skip
_CURVE = ("distance", "low", "median", "high")
_SMALLEST = np.finfo(float).tiny


def measured(records: pd.DataFrame) -> pd.DataFrame:
    """One row for each finished run that kept its gradient flow: its first execution that did.

    Tables of records that earlier versions wrote lack the column.
    """
    if "gradient_flow" not in records:
        return records.iloc[:0]
    kept = records[(records["status"] == "finished") & records["gradient_flow"].notna()]
    return kept.drop_duplicates("run_id").reset_index(drop=True)


def flow_numbers(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over runs: a row per task × arm × moment.

    Columns: task, arm, moment, runs, texts, decay, half_life, carousel_decay, carousel_half_life (tokens, of the mean
    factor; missing where nothing is lost), distance (the farthest that all runs reach), left and carousel_left (share
    of the norm at the text's end that is left there), singular_value, spectral_radius, derivative, saturation, clipped
    (share of the training steps in between, after training alone).
    """
    curves = flow_curves(runs)
    rows = []
    for (task, arm), group in runs.groupby(["task", "arm"], sort=False):
        for moment, suffix in _SUFFIX.items():
            row: dict[str, object] = {"task": task, "arm": arm, "moment": moment, "runs": len(group)}
            row["texts"] = int(group["gradient_flow_texts"].max())
            row |= {name: _geometric(group[f"{field}{suffix}"]) for name, field in _FACTORS.items()}
            row |= {name: _mean(group[f"{field}{suffix}"]) for name, field in _MEANS.items()}
            row["half_life"] = half_life(row["decay"])
            row["carousel_half_life"] = half_life(row["carousel_decay"])
            row["clipped"] = _mean(group["clipped_fraction"]) if moment == BEST else None
            here = curves[(curves["task"] == task) & (curves["arm"] == arm) & (curves["moment"] == moment)]
            rows.append(row | _left(here))
    return pd.DataFrame(rows)


def flow_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Norms relative to that at the text's end, by distance from it: a row per task × arm × moment × state × distance.

    Columns: task, arm, moment, state, distance (tokens), low, median, high (quartiles over texts, the mean over runs of
    each), runs.
    """
    rows: list[dict[str, object]] = []
    for (task, arm), group in runs.groupby(["task", "arm"], sort=False):
        kept = [cast(Curves, json.loads(str(text))) for text in group["gradient_flow"]]
        for moment, suffix in _SUFFIX.items():
            for state in (HIDDEN, CAROUSEL):
                found = [np.array(one[state + suffix], float) for one in kept if one.get(state + suffix)]
                if found:
                    place = {"task": task, "arm": arm, "moment": moment, "state": state, "runs": len(found)}
                    rows += [place | dict(zip(_CURVE, point, strict=True)) for point in _together(found).tolist()]
    return pd.DataFrame(rows, columns=["task", "arm", "moment", "state", "runs", *_CURVE])


def _together(curves: list[Floats]) -> Floats:
    """The mean of several curves by their logarithms, at the distances of the shortest one."""
    grid = min(curves, key=lambda points: points[-1, 0])[:, 0]
    logs = [
        [np.interp(grid, points[:, 0], np.log(np.maximum(points[:, column], _SMALLEST))) for column in (1, 2, 3)]
        for points in curves
    ]
    return np.column_stack([grid, *np.exp(np.mean(logs, axis=0))])


def _left(curves: pd.DataFrame) -> dict[str, object]:
    """What is left at the farthest distance of ∂L/∂h_t, and of ∂L/∂c_t at its own."""
    last = {str(state): rows.iloc[-1] for state, rows in curves.groupby("state")}
    return {
        "distance": int(last[HIDDEN]["distance"]) if HIDDEN in last else None,
        "left": float(last[HIDDEN]["median"]) if HIDDEN in last else None,
        "carousel_left": float(last[CAROUSEL]["median"]) if CAROUSEL in last else None,
    }


def _mean(column: pd.Series[float]) -> float | None:
    known = column.dropna().to_numpy(float)
    return float(known.mean()) if len(known) else None


def _geometric(column: pd.Series[float]) -> float | None:
    known = column.dropna().to_numpy(float)
    return float(np.exp(np.log(known).mean())) if len(known) else None
