"""Tuning among records: trials are set apart, and winners of one search pair although each arm has values of its own.

A record is a trial where `tuning.trial` is known, and a winner's run where `tuning.trials` is above zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.analysis.scenes import numbered

BUDGET = ("tuning.trials", "tuning.sampler", "tuning.pruner", "tuning.seed", "tuning.space")


def without_trials(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The records that may be compared, and the trials."""
    if "tuning.trial" not in records:
        return records, records.iloc[:0]
    tried = records["tuning.trial"].notna()
    return records[~tried], records[tried]


def searched_keys(space: str) -> list[str]:
    """The keys of a search space as records hold it: `KEY=…` joined by commas."""
    return [line.partition("=")[0].strip() for line in space.split(",")]


def as_searched(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, without what a search found for their arm: it may differ within a pair.

    Where anything was tuned, the columns in `BUDGET` say by which search, and are empty for what was not. (Elsewhere
    they are dropped: what a search would have been like is no part of a run.)
    """
    if "tuning.trials" not in runs:
        return runs
    trials = runs["tuning.trials"].fillna(0)
    tuned = (trials > 0).to_numpy(bool)
    if not tuned.any():
        return runs.drop(columns=[name for name in BUDGET if name in runs])
    spaces = runs["tuning.space"].astype(object).where(tuned)
    masked: dict[str, pd.Series] = {}
    for space, rows in runs.groupby(spaces).groups.items():
        for key in (key for key in searched_keys(str(space)) if key in runs):
            column = masked.get(key, runs[key])
            masked[key] = column.mask(runs.index.isin(rows))
    budget = {name: runs[name].where(tuned) for name in BUDGET if name in runs}
    return runs.assign(**masked, **budget).assign(**{"tuning.trials": trials.where(tuned, 0)})


def budget_columns(runs: pd.DataFrame) -> list[str]:
    """What is held equal of a search."""
    return [name for name in BUDGET if name in runs]


def largest_budget(runs: pd.DataFrame, held: Sequence[str]) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Of winners that differ in their budget alone, those of the largest one that several arms have.

    Returns: the runs that stay, and the others' ids by reason.
    """
    if "tuning.trials" not in held or runs["tuning.trials"].nunique() < 2:
        return runs, {}
    search = numbered(runs, [name for name in held if name != "tuning.trials"])
    budgets = runs.groupby([search, runs["tuning.trials"]]).agg(arms=("arm", "nunique"), trials=("seed", "size"))
    budgets = budgets.assign(several=budgets.arms > 1, trials=budgets.index.get_level_values(1))
    kept = budgets.sort_values(["several", "trials"]).groupby(level=0).trials.last()
    counts = search.map(kept)
    stays = (runs["tuning.trials"] == counts).to_numpy(bool)
    reasons: dict[str, tuple[str, ...]] = {}
    for (had, counted), rows in runs[~stays].groupby([runs["tuning.trials"], counts]):
        reason = f"winners of {had:.0f} tuning trials, where those of {counted:.0f} count: budgets do not mix"
        reasons[reason] = tuple(dict.fromkeys(rows.run_id))
    return runs[stays], reasons


def why_apart(run: pd.Series, other: pd.Series) -> str | None:
    """Why a tuned run and one that was not, or was by another search, do not pair; None where it is not that."""
    names = [name for name in BUDGET if name in run and not _equal(run[name], other[name])]
    if not names:
        return None
    if "tuning.trials" in names and 0 in (run["tuning.trials"], other["tuning.trials"]):
        mine, theirs = (f"tuned ({n:.0f} trials)" if n else "not tuned" for n in
                        (run["tuning.trials"], other["tuning.trials"]))  # fmt: skip
        return f"this one was {mine}, those of {other['arm']} were {theirs}: only winners of one search pair"
    return f"those of {other['arm']} were tuned by another search ({', '.join(names)} differ)"


def _equal(one: object, other: object) -> bool:
    return bool(pd.isna(one) and pd.isna(other)) or bool(not pd.isna(one) and not pd.isna(other) and one == other)  # type: ignore[call-overload]
