"""Which runs of two tables are the same run, made twice: matched by configuration and seed, not by ids.

Ids change with the code; what was asked for does not.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis.merging import without_conflicts
from bench.analysis.tuned import without_trials
from bench.runs.record import Status
from bench.runs.science import science_columns

# Declared values that resolve to something else in a run's identity, and still tell what was asked for.
DECLARED = ("data.name", "model.hidden_size", "model.match", "model.kernel", "embedding.dimension")


def runs_of_both(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """All executions of both sides with columns `side`, `arm_number` (equal for runs that match), `ambiguous`."""
    kept, set_apart = [], []
    for side, table in (("before", before), ("after", after)):
        clean, reasons = without_conflicts(without_trials(table)[0])
        kept.append(clean.assign(side=side))
        set_apart += [f"{side}: {reason}" for reason in reasons]
    runs = pd.concat([table for table in kept if len(table)] or kept, ignore_index=True)
    science = [name for name in science_columns(runs.columns) if name != "seed"]
    key = [*science, *(name for name in DECLARED if name in runs)]
    runs["arm_number"] = runs.groupby(key, dropna=False, sort=False).ngroup()
    runs["ambiguous"] = _ambiguous(runs)
    return runs, [*set_apart, *_reasons(runs[runs.ambiguous])]


def _ambiguous(runs: pd.DataFrame) -> pd.Series:
    """Finished executions of an arm and seed that stand for several runs on one side: none of them is *the* run."""
    finished = runs[runs.status == Status.FINISHED]
    several = finished.groupby(["side", "arm_number", "seed"]).run_id.transform("nunique") > 1
    return several.reindex(runs.index, fill_value=False)


def _reasons(ambiguous: pd.DataFrame) -> list[str]:
    lines = []
    for (side, _), rows in ambiguous.groupby(["side", "arm_number"], sort=False):
        codes = ", ".join(sorted(rows.code_version.unique()))
        several_kernels = "kernel" in rows and rows["kernel"].nunique() > 1
        causes = "other kernels" if several_kernels else "other data"
        if rows.code_version.nunique() > 1:
            causes = f"code {codes}: name one, as in diff=CODE..CODE"
        lines.append(f"{side}: {rows.arm.iat[0]} has several runs of one seed ({causes})")
    return lines


def first_by_seed(finished: pd.DataFrame) -> pd.DataFrame:
    """The first finished execution of each seed, the one whose quality counts; indexed by seed."""
    return finished.drop_duplicates("seed").set_index("seed").sort_index()
