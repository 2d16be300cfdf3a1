"""Under which execution of the recurrence (`model.kernel`) runs compare: the same declared one, as with matchings.

A run that was asked for as `auto` and came to `torch` is the very run that `model.kernel=torch` names, so one record
may answer both; which of them a study is about depends on what was declared in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from bench.declarations import BASELINES

EXECUTIONS = ("auto", "torch", "step")  # as declared; the headline's is the first of those that were run
DECLARED = "model.kernel"


def by_execution(runs: pd.DataFrame) -> pd.DataFrame:
    """Each run of a recurrent cell once for every declared execution that it answers, of those in these runs.

    Column `model.kernel` says which. What does not recur has one execution and stays as it is.
    """
    runs = runs.assign(**{DECLARED: _known(runs, DECLARED, "auto")})
    recurs = ~runs["model.cell"].isin(list(BASELINES))
    asked = [name for name in EXECUTIONS if (runs[DECLARED][recurs] == name).any()]
    if len(asked) < 2:
        return runs
    ran = _known(runs, "kernel", "torch")
    answered = {name: ran == name for name in EXECUTIONS}
    answered["auto"] = (runs[DECLARED] == "auto") | (ran == _known(runs, "kernel_auto", ""))
    parts = [runs[recurs & answered[name]].assign(**{DECLARED: name}) for name in asked]
    return pd.concat([*parts, runs[~recurs]], ignore_index=True)


def without_echoes(runs: pd.DataFrame, places: pd.Series) -> pd.DataFrame:
    """The runs without executions that hold nothing of their own: `torch`, where `auto` came to it throughout.

    places: a number for all that is held equal beside the execution.
    """
    if runs[DECLARED].nunique() < 2:
        return runs
    held: dict[tuple[int, str], set[str]] = {}
    for place, execution, run_id in zip(places, runs[DECLARED], runs["run_id"], strict=True):
        held.setdefault((place, execution), set()).add(run_id)
    first: dict[tuple[int, frozenset[str]], str] = {}
    for place, execution in sorted(held, key=lambda key: EXECUTIONS.index(key[1])):
        first.setdefault((place, frozenset(held[place, execution])), execution)
    stays = {(place, execution) for (place, _), execution in first.items()}
    return runs[[own in stays for own in zip(places, runs[DECLARED], strict=True)]]


def one_kernel(runs: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Of an arm whose runs were executed in several ways, as `auto` may be: on one machine one way, of a seed one run.

    The one that most runs of the arm share stays, the latest of equals.
    Returns: the runs that stay, and the others' ids by reason.
    """
    place = ["scene", "arm"]
    if "kernel" not in runs or not (runs.groupby(place)["kernel"].nunique() > 1).any():
        return runs, {}
    runs = runs.assign(kernel=_known(runs, "kernel", "torch"))
    sizes = runs.groupby([*place, "kernel"])["run_id"].transform("size")
    kept = order = runs.assign(n=sizes).sort_values(["n", "started_at"], ascending=False)
    for narrower in ("hardware_key", "seed"):
        kept = kept[kept["kernel"] == kept.groupby([*place, narrower])["kernel"].transform("first")]
    reasons: dict[str, tuple[str, ...]] = {}
    for (arm, kernel), rows in order.drop(index=kept.index).groupby(["arm", "kernel"]):
        reason = f"{arm} ran by {kernel}, most runs of the same comparison by another kernel: their times do not mix"
        reasons[reason] = tuple(dict.fromkeys(rows["run_id"]))
    return runs.loc[sorted(kept.index)], reasons


def primary_execution(executions: Iterable[str]) -> str:
    """That of the headline: each cell by its faster kernel where that was run, else what users get from PyTorch."""
    found = set(executions)
    return next((name for name in EXECUTIONS if name in found), "")


def kernel_names(kernels: Iterable[object]) -> str:
    """The kernels that ran, in words: `step`, `step and torch`, or nothing where no record says."""
    return " and ".join(sorted({str(name) for name in kernels if isinstance(name, str) and name}))


def kernels_differ(names: Sequence[str]) -> bool:
    """Whether two arms are known to have run by different kernels, so that their times compare these as well."""
    return all(names) and len(set(names)) > 1


def _known(runs: pd.DataFrame, name: str, default: str) -> pd.Series:
    """A column of records; those of earlier versions may lack it."""
    if name not in runs:
        return pd.Series(default, index=runs.index, dtype=object)
    return runs[name].astype(object).where(runs[name].notna(), default)
