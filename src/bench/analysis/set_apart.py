"""Runs that take no part in a comparison, and why: not tested, of other code or data, or with nothing to pair with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis.arms import word
from bench.analysis.scenes import numbered
from bench.analysis.tuned import why_apart
from bench.config import ProtocolConfig


@dataclass(frozen=True)
class SetApart:
    """Runs that take no part, and why."""

    reason: str
    run_ids: tuple[str, ...]


def trials_apart(trials: pd.DataFrame) -> list[SetApart]:
    """Tuning trials, whatever became of them."""
    if trials.empty:
        return []
    run_ids = tuple(dict.fromkeys(trials.run_id))
    many = "1 tuning trial" if len(run_ids) == 1 else f"{len(run_ids):,} tuning trials"
    return [SetApart(f"{many}: to choose values for an arm, on validation; no evidence for a verdict", run_ids)]


def usable(runs: pd.DataFrame, protocol: ProtocolConfig) -> tuple[pd.DataFrame, list[SetApart]]:
    """Runs that were tested, by sources that a commit holds."""
    apart = []
    untested = runs.test_accuracy.isna()
    if untested.any():
        reason = "the corpus has no test split, and validation served to choose the best epoch"
        apart.append(SetApart(reason, tuple(runs[untested].run_id)))
    runs = runs[~untested]
    if protocol.uncommitted == "set_apart" and "code_committed" in runs:
        loose = (runs.code_committed == False).fillna(False).astype(bool)  # noqa: E712  (absent for a wheel)
        if loose.any():
            reason = (
                "sources that affect numbers had uncommitted changes, so nobody else can fetch them: commit and run "
                "again, or say protocol.uncommitted=allow"
            )
            apart.append(SetApart(reason, tuple(runs[loose].run_id)))
            runs = runs[~loose]
    return runs, apart


def one_revision(runs: pd.DataFrame, held: Sequence[str]) -> tuple[pd.DataFrame, list[SetApart]]:
    """Of runs that differ in the data's revision or the code alone, those that most runs share."""
    apart = []
    for name, what in (("data_fingerprint", "another revision of the data"), ("code_version", "other code")):
        if name not in held or runs[name].nunique(dropna=False) < 2:
            continue
        numbers = numbered(runs, [column for column in held if column not in ("data_fingerprint", "code_version")])
        sizes = runs.groupby([numbers, runs[name]], dropna=False).agg(n=("run_id", "size"), at=("started_at", "max"))
        kept = sizes.sort_values(["n", "at"]).groupby(level=0).tail(1).index
        own = pd.MultiIndex.from_arrays([numbers, runs[name]])
        stays = own.isin(kept)
        if not stays.all():
            others = ", ".join(sorted(runs[~stays][name].astype(str).unique()))
            reason = f"{what} than most runs of the same comparison ({name} {others}): such runs do not pair"
            apart.append(SetApart(reason, tuple(dict.fromkeys(runs[~stays].run_id))))
            runs = runs[stays]
    return runs, apart


def with_company(runs: pd.DataFrame, held: Sequence[str]) -> tuple[pd.DataFrame, list[SetApart]]:
    """Scenes of two arms or more; of the others' runs, why they stand alone."""
    arms = runs.groupby("scene").arm.transform("nunique")
    paired, alone = runs[arms > 1], runs[arms < 2]
    alone = alone[~alone.run_id.isin(paired.run_id)]  # merely the other matching of a run that pairs
    reasons: dict[str, list[str]] = {}
    for _, rows in alone.drop_duplicates("run_id").groupby("scene"):
        reasons.setdefault(_why_alone(rows.iloc[0], runs, held), []).extend(rows.run_id)
    return paired, [SetApart(reason, tuple(ids)) for reason, ids in reasons.items()]


def _why_alone(run: pd.Series, runs: pd.DataFrame, held: Sequence[str]) -> str:
    """Nothing else was run on these data, or what was differs in more than what is compared."""
    others = runs[(runs.dataset == run.dataset) & (runs.arm != run.arm)]
    start = f"{run.arm} on {run.dataset}: "
    if others.empty:
        return f"{start}no other arm was run on it"
    matched = others[others.matching.isin(runs[runs.run_id == run.run_id].matching)]
    free = {"dataset"} if matched.empty else {"dataset", "matching"}
    others = others if matched.empty else matched
    names = [name for name in held if name not in free and runs[name].nunique(dropna=False) > 1]
    differ = others[names].map(word).ne(run[names].map(word))
    nearest = differ.sum(axis=1).idxmin()
    if apart := why_apart(run, others.loc[nearest]):
        return f"{start}{apart}"
    shown = [
        f"{name} ({word(run[name])}, there {word(others.loc[nearest, name])})"
        for name in names
        if differ.loc[nearest, name]
    ]
    return f"{start}the runs of {others.loc[nearest, 'arm']} differ also in {', '.join(shown[:3])}"
