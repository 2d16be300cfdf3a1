"""The runs that a claim compares: what was planned, what its records measured, and which runs pair.

Arms are chosen by the words that the runs were planned with, not by their records: a run that two questions share is
recorded as the first of them asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.claims import Measure, Word, plain_value, words_of
from bench.runs.questions import SweepMember
from bench.runs.record import Status, field_types

MISSING = "missing"  # in column `status`: planned, and without a record
_CARRIED_OUT = ("sweep", "results=", "force=", "retry=", "keep=", "dry_run=", "until=", "logger", "hydra", "seed=",
                "protocol", "training.max_seconds=", "hardware.threads=")  # fmt: skip
_TAKEN = ("status", "hardware_key", "timing_disturbed")
_POINTS = ("accuracy", "macro_f1", "gap", "fraction", "share", "saturation", "calibration_error")
_SPEEDS = ("seconds", "per_second")


def in_points(field: str) -> bool:
    """Whether a field of the record is a share, whose differences are told in percentage points."""
    return any(word in field for word in _POINTS)


def planned_runs(members: Sequence[SweepMember], records: pd.DataFrame) -> pd.DataFrame:
    """One row for everything that a plan wants.

    records: as `bench.records` gives them, also of other questions.
    Returns: columns run_id, seed, status, every key that the runs were planned with (text, as `plain_value` spells it;
    missing where a run was not given it), and every number of its record: of its first finished execution.
    """
    planned = pd.DataFrame(
        [{"run_id": member.run_id, "seed": member.seed, **_words(member.overrides)} for member in members]
    )
    numbers = [name for name, kind in field_types().items() if kind in (int, float) and name != "seed"]
    kept = ["run_id", *_TAKEN, *(name for name in numbers if name in records)]
    order = records.assign(late=records["status"] != Status.FINISHED).sort_values("late", kind="stable")
    recorded = order.drop_duplicates("run_id")[[name for name in kept if name in order]]
    runs = planned.merge(recorded, on="run_id", how="left")
    return runs.assign(status=runs["status"].astype(object).where(runs["status"].notna(), MISSING))


def _words(overrides: Sequence[str]) -> dict[str, str]:
    words = (override.lstrip("+").partition("=") for override in overrides)
    return {key: plain_value(value) for key, sign, value in words if not f"{key}{sign}".startswith(_CARRIED_OUT)}


def keys_of(runs: pd.DataFrame) -> list[str]:
    """The columns that are keys of the configuration, as planned."""
    measured = {*field_types(), *_TAKEN}
    return [str(name) for name in runs if name not in measured]


def chosen(runs: pd.DataFrame, words: Sequence[Word]) -> pd.DataFrame:
    """The runs that were planned with these words; a key that comes several times may have any of its values."""
    allowed: dict[str, set[str]] = {}
    for key, value in words:
        allowed.setdefault(key, set()).add(value)
    for key, values in allowed.items():
        if key not in runs:
            return runs.iloc[:0]
        runs = runs[runs[key].isin(list(values))]
    return runs


def measured_runs(runs: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """The runs of both arms that have a value.

    Returns: columns task (what is equal within a pair, in words), seed, arm (as in the measure), value (in points for
    shares), size (of the key `along`, else missing), hardware_key, timing_disturbed, run_id. A run that diverged is as
    accurate as guessing among its classes.
    """
    within = chosen(runs, words_of(measure.where))
    arms = [measure.arm] if measure.against is None else [measure.arm, measure.against]
    compared = {key for arm in arms for key, _ in words_of(arm)} | {measure.along}
    tables = [chosen(within, words_of(arm)).assign(arm=arm) for arm in arms]
    both = pd.concat(tables, ignore_index=True)
    equal = [key for key in keys_of(runs) if key not in compared and both[key].nunique(dropna=False) > 1]
    sizes = both[measure.along] if measure.along in both else pd.Series(np.nan, index=both.index)
    found = pd.DataFrame({
        "task": _tasks(both, equal), "seed": both["seed"], "arm": both["arm"], "value": _values(both, measure),
        "size": pd.to_numeric(sizes, errors="coerce"), "run_id": both["run_id"],
        "hardware_key": both["hardware_key"].astype(object) if "hardware_key" in both else None,
        "timing_disturbed": _flags(both, "timing_disturbed"),
    })  # fmt: skip
    found = found[found["value"].notna()]
    return found.drop_duplicates(["task", "seed", "arm", "size"]).reset_index(drop=True)


def pairs_of(found: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """One row a pair. found: from `measured_runs`; of speeds, both runs of a pair were measured on the same hardware.

    Returns: columns task, seed, size, one (the arm's value), other.
    """
    keys = ["task", "seed", "size"]
    if is_speed(measure.field):
        keys.append("hardware_key")
    one = found[found["arm"] == measure.arm].rename(columns={"value": "one"})
    other = found[found["arm"] == measure.against].rename(columns={"value": "other"})
    paired = one[[*keys, "one"]].merge(other[[*keys, "other"]], on=keys)
    return paired.drop(columns="hardware_key", errors="ignore")


def is_speed(field: str) -> bool:
    """Whether a field hangs on the machine."""
    return any(word in field for word in _SPEEDS) or field.startswith("peak_")


def _tasks(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """What tells each run's task from the others."""
    rows = runs[list(keys)].to_dict("records") if keys else [{}] * len(runs)
    return [" ".join(_word(str(key), value) for key, value in row.items() if isinstance(value, str)) for row in rows]


def _word(key: str, value: str) -> str:
    """Such as `trec6` for a corpus, `data.length=64` for other keys."""
    return value if "." not in key else f"{key}={value}"


def _values(runs: pd.DataFrame, measure: Measure) -> pd.Series[float]:
    if measure.field not in runs:
        return pd.Series(np.nan, index=runs.index)
    values = pd.to_numeric(runs[measure.field], errors="coerce").astype(float)
    finished = runs["status"] == Status.FINISHED
    if measure.field.endswith("accuracy") and "classes" in runs:
        guessed = (1 / pd.to_numeric(runs["classes"], errors="coerce").astype(float)).fillna(0.0)  # none, of numbers
        values = values.where(finished, guessed.where(runs["status"] == Status.DIVERGED))
    else:
        values = values.where(finished)
    scaled = in_points(measure.field) and measure.kind in ("difference", "interaction")
    return 100 * values if scaled else values


def _flags(runs: pd.DataFrame, name: str) -> pd.Series[bool]:
    if name not in runs:
        return pd.Series(False, index=runs.index)
    return runs[name].astype(object).where(runs[name].notna(), False).astype(bool)
