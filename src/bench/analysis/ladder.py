"""Ladders: up to which length of text an arm still solves a generated corpus, for a fixed budget of training.

A seed solves a length with a test accuracy of at least 95%; where answers are numbers, that is the share of them within
`data.tolerance`. A length is solved if at least four in five of its seeds solve it. The top of a ladder is the longest
length up to which all are solved. Training that diverged solves nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.arms import arm_labels, compared_columns
from bench.analysis.merging import without_conflicts
from bench.analysis.pairing import held_columns
from bench.analysis.scenes import Scene, beside_cells, by_matching, dataset_names, numbered, scenes_of
from bench.analysis.tuned import as_searched, without_trials
from bench.runs.record import Status

SOLVED, SHARE = 0.95, 0.8  # of test accuracy;  of seeds
LENGTHS = ("data.length", "data.test_length")  # keys that make ladders
_FOLLOWERS = ("data_fingerprint", "data.max_length", "data.test_max_length")  # differ because the length does
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ladder:
    """Runs that differ in arm, seed and length alone.

    along: the key of length;  scenes: what is held equal, by the number in column `scene`;  runs: one row a run with
    scene, arm, seed, the key's column, test_accuracy (missing where training diverged).
    """

    along: str
    scenes: tuple[Scene, ...]
    runs: pd.DataFrame


def ladders(records: pd.DataFrame, compare: str = "model.cell", *, uncommitted: bool = False) -> list[Ladder]:
    """The ladders among some records: generated corpora on which two arms or more were run at several lengths.

    records: as `bench.records` gives them;  uncommitted: whether runs count whose sources no commit holds.
    Raises: `UserError` if there is no such key or group as `compare`.
    """
    compared = compared_columns(records, compare)
    runs = _ended(records, uncommitted)
    if runs.empty or "data.probe" not in runs:
        return []
    runs = as_searched(runs)
    runs = by_matching(runs.assign(arm=arm_labels(runs, compare, compared), dataset=dataset_names(runs)))
    held = held_columns(runs, compare, compared)
    if "model.cell" in compared:
        runs = beside_cells(runs, held)
    found = [_along(runs, along, held, compare) for along in LENGTHS if along in runs and along not in compared]
    return [ladder for ladder in found if ladder is not None]


def longest_solved(
    runs: pd.DataFrame, along: str, solved: float = SOLVED, share: float = SHARE, measure: str = "test_accuracy"
) -> pd.DataFrame:
    """The top of each ladder: a row per arm, and per scene where the runs have that column.

    runs: one row a run with arm, seed, `along` and `measure`, a fraction of 1;  solved: of the measure;  share: of the
    seeds of a length.
    Columns: scene, arm, longest (missing: not even the shortest is solved), seeds (of the length that has the fewest),
    next (the shortest that is not solved; missing: all are), next_seeds (0: it was not run), shortest, farthest.
    """
    rungs = solved_shares(runs, along, solved, measure)
    keys = _keys(runs)
    rows = [_top(dict(zip(keys, key, strict=True)), rung, share) for key, rung in rungs.groupby(keys, sort=False)]
    columns = [*keys, "longest", "seeds", "next", "next_seeds", "shortest", "farthest"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("longest", "next", "next_seeds"), "Int64"))


def solved_shares(
    runs: pd.DataFrame, along: str, solved: float = SOLVED, measure: str = "test_accuracy"
) -> pd.DataFrame:
    """How many seeds solve each length: a row per arm × length, and per scene where the runs have that column.

    Lengths that an arm lacks and another arm of the scene has are there with 0 seeds. Arguments as `longest_solved`.
    Columns: scene, arm, length, seeds, solved (how many), share (missing: none was run), median (of the measure).
    """
    keys = [*_keys(runs), along]
    score = runs[measure].to_numpy(float, na_value=np.nan)
    known = runs.assign(score=score, solved=score >= solved).drop_duplicates([*keys, "seed"])
    rungs = known.groupby(keys).agg(seeds=("seed", "size"), solved=("solved", "sum"), median=("score", "median"))
    rungs = _every_length(rungs.reset_index().rename(columns={along: "length"}))
    return rungs.assign(share=(rungs["solved"] / rungs["seeds"].where(rungs["seeds"] > 0)).astype(float))


def _keys(runs: pd.DataFrame) -> list[str]:
    """What tells ladders apart."""
    return [name for name in ("scene", "arm") if name in runs]


def _every_length(rungs: pd.DataFrame) -> pd.DataFrame:
    """The rungs, with those that an arm lacks and others in its scene have."""
    place = ["scene"] if "scene" in rungs else []
    arms, lengths = (rungs[[*place, name]].drop_duplicates() for name in ("arm", "length"))
    every = arms.merge(lengths, on=place) if place else arms.merge(lengths, how="cross")
    whole = every.merge(rungs, on=[*place, "arm", "length"], how="left")
    whole = whole.assign(**{name: whole[name].fillna(0).astype(int) for name in ("seeds", "solved")})
    return whole.astype({"length": int}).sort_values([*place, "arm", "length"], ignore_index=True)


def _top(place: dict[str, Hashable], rungs: pd.DataFrame, share: float) -> dict[str, Hashable]:
    """One ladder. rungs: of one scene and arm, shortest first."""
    lengths, seeds = rungs["length"].tolist(), rungs["seeds"].tolist()
    missed = np.flatnonzero(~(rungs["share"].to_numpy(float) >= share - _ROUNDING))
    end = int(missed[0]) if len(missed) else len(lengths)
    after = {"next": lengths[end], "next_seeds": seeds[end]} if end < len(lengths) else {}
    return {
        **place,
        "longest": lengths[end - 1] if end else None,
        "seeds": min((count for count in seeds if count), default=0),
        **after,
        "shortest": lengths[0],
        "farthest": lengths[-1],
    }


def _ended(records: pd.DataFrame, uncommitted: bool) -> pd.DataFrame:
    """One row a run that was tested, or whose training diverged and was never finished."""
    records, _ = without_conflicts(records)
    records, _ = without_trials(records)
    finished = records["status"] == str(Status.FINISHED)
    over = (finished & records["test_accuracy"].notna()) | (records["status"] == str(Status.DIVERGED))
    runs = records[over].assign(test_accuracy=records["test_accuracy"].where(finished))
    if not uncommitted and "code_committed" in runs:
        runs = runs[(runs["code_committed"] != False).fillna(True).astype(bool)]  # noqa: E712  (absent for a wheel)
    order = runs["test_accuracy"].isna().sort_values(kind="stable").index
    return runs.loc[order].drop_duplicates("run_id").reset_index(drop=True)


def _along(runs: pd.DataFrame, along: str, held: Sequence[str], compare: str) -> Ladder | None:
    """The ladders along one key of length; None where no two arms were run at two lengths."""
    runs = runs[runs["data.probe"].notna() & runs[along].notna()]
    equal = [name for name in held if name not in (along, *_FOLLOWERS)]
    if runs.empty:
        return None
    scenes = numbered(runs, equal)
    several = (runs.groupby(scenes)[[along, "arm"]].transform("nunique") > 1).all(axis=1)
    if not several.any():
        return None
    runs = runs[several].reset_index(drop=True)
    runs = runs.assign(scene=numbered(runs, equal), **{along: runs[along].astype(int)})
    kept = ["scene", "arm", "seed", along, "run_id", "test_accuracy"]
    return Ladder(along, scenes_of(runs, equal, compare), runs[kept])
