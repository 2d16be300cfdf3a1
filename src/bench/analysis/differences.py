"""Two result folders, or two versions of the code, side by side: what changed beyond what seeds change anyway.

Runs are matched by what their configuration says (not by ids, which change with the code) and by their seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.analysis.arm_differences import EXACT, ArmDifference, arm_difference, with_holm
from bench.analysis.matching import DECLARED, runs_of_both
from bench.runs.record import Status
from bench.runs.science import science_columns

_ENVIRONMENT = (
    "code_version", "commit", "data_fingerprint", "embedding_fingerprint", "hidden_size_resolved", "torch_version",
    "python_version", "hardware_key",
)  # fmt: skip
_JUDGED = (
    "arm", "seed", "status", "side", "arm_number", "ambiguous", "data.name", "model.match", "hardware_key",
    "train_seconds", "data_fingerprint",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ValueDifference:
    """A setting or a part of the environment that is not the same on both sides."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What is not the same in two tables of records. set_apart: a line for each run left out, with the reason."""

    arms: tuple[ArmDifference, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    values: tuple[ValueDifference, ...]
    set_apart: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """One row an arm, intervals as three columns each."""
        return pd.DataFrame([_flat(arm) for arm in self.arms])


def difference(before: pd.DataFrame, after: pd.DataFrame, alpha: float = 0.05) -> Differences:
    """Match the runs of two tables of records and say what changed.

    before, after: one row an execution, as `bench.records` gives them;  alpha: of the Holm-adjusted tests.
    `changed` is yes where the adjusted p is at most alpha; no where every pair is identical, or the interval of the
    difference lies within the noise of a single seed; refused where the data differ; undecided otherwise.
    """
    runs, set_apart = runs_of_both(before, after)
    arms: list[ArmDifference] = []
    only: dict[str, list[str]] = {"before": [], "after": []}
    for _, rows in _plain(runs.reindex(columns=[*_JUDGED, *EXACT])).groupby("arm_number", sort=True):
        sides, usable = set(rows.side), rows[~rows.ambiguous]
        if len(sides) == 1:
            only[sides.pop()].append(str(rows.arm.iat[0]))
        elif usable.side.nunique() == 2:
            arms.append(arm_difference(usable, alpha))
    return Differences(
        arms=tuple(with_holm(arms, alpha)),
        only_before=tuple(sorted(only["before"])),
        only_after=tuple(sorted(only["after"])),
        values=tuple(_value_differences(runs)),
        set_apart=tuple(set_apart),
    )


def _plain(runs: pd.DataFrame) -> pd.DataFrame:
    """The same values in numpy's types: hundreds of small tables are cut out of this one."""
    plain = {}
    for name in map(str, runs):
        column = runs[name]
        if isinstance(column.dtype, pd.StringDtype):
            column = column.astype(object).where(column.notna(), None)
        elif column.dtype == "Int64":
            column = column.astype("int64" if name == "seed" else float)
        plain[name] = column
    return pd.DataFrame(plain)


def _value_differences(runs: pd.DataFrame) -> list[ValueDifference]:
    """Settings over all runs, and the environment over finished runs of arms that are on both sides."""
    both = runs.groupby("arm_number").side.transform("nunique") == 2
    matched = runs[both & (runs.status == Status.FINISHED)]
    settings = [*(name for name in science_columns(runs.columns) if name != "seed"), *DECLARED]
    found = []
    for table, names in ((matched, _ENVIRONMENT), (runs, settings)):
        sides = [table[table.side == side] for side in ("before", "after")]
        for name in (name for name in names if name in table):
            before, after = (tuple(sorted(set(_texts(side[name])))) for side in sides)
            if before != after and before and after:
                found.append(ValueDifference(name=name, before=before, after=after))
    return found


def _texts(values: pd.Series) -> list[str]:
    return ["null" if pd.isna(value) else str(value) for value in values.unique()]


def _flat(arm: ArmDifference) -> dict[str, object]:
    values = dict(vars(arm))
    for name in ("difference", "time_ratio"):
        interval = values.pop(name)
        for part in ("estimate", "low", "high"):
            values[f"{name}_{part}"] = getattr(interval, part, None)
    return values
