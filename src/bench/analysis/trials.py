"""What tuning has tried: the trials of a study as one tidy table, and the best of each arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.arms import arm_labels, compared_columns, word
from bench.analysis.executions import DECLARED, by_execution
from bench.analysis.pairing import Study, held_columns
from bench.analysis.scenes import Scene, by_matching, dataset_names, numbered, scenes_of
from bench.analysis.tuned import as_searched, searched_keys
from bench.models.sizes import REFERENCE_CELL
from bench.runs.record import Status

_SEARCH = ("tuning.sampler", "tuning.pruner", "tuning.seed", "tuning.space")
# A trial that failed early does not know these, and a later call may have had a larger budget.
_NOT_HELD = {
    "tuning.trials", "data_fingerprint", "embedding_fingerprint", "embedding_dimension", "code_version",
}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """How a scene was searched. trials: the budget of each arm."""

    sampler: str
    pruner: str
    seed: int
    space: str
    trials: int

    @property
    def independent(self) -> bool:
        """Whether no trial depends on the earlier ones."""
        return self.sampler == "random" and self.pruner == "none"


@dataclass(frozen=True)
class Tried:
    """Every trial that has ended, the newest code's alone.

    trials: a row each and matching that it answers: scene, arm, trial, ended (finished, pruned, failed, diverged),
    validation_quality (fraction of 1; missing unless finished), validation_log_loss, values (as overrides);
    scenes, searches: by the number in column `scene`.
    """

    trials: pd.DataFrame
    scenes: tuple[Scene, ...]
    searches: tuple[Search, ...]

    def winners(self) -> pd.DataFrame:
        """The best trial of each scene × arm, and how many there were: columns scene, arm, trials, pruned, failed,
        trial, validation_quality, values.

        The highest validation accuracy, then the lower log loss, then the lower number.
        """
        keys = ["scene", "arm"]
        ends = self.trials.groupby(keys).ended
        counts = pd.DataFrame({
            "trials": ends.size(),
            "pruned": ends.agg(lambda ended: int((ended == "pruned").sum())),
            "failed": ends.agg(lambda ended: int(ended.isin([Status.FAILED, Status.DIVERGED]).sum())),
        })  # fmt: skip
        order = ["validation_quality", "validation_log_loss", "trial"]
        finished = self.trials[self.trials.ended == Status.FINISHED]
        best = finished.sort_values(order, ascending=[False, True, True]).groupby(keys).head(1).set_index(keys)
        return counts.join(best[["trial", "validation_quality", "values"]]).reset_index()


def tried(study: Study) -> Tried:
    """The trials among a study's records, in scenes as its runs are."""
    ended = study.trials[study.trials.status != Status.INTERRUPTED] if len(study.trials) else study.trials
    if ended.empty:
        return Tried(pd.DataFrame(), (), ())
    runs = _one_execution(ended).assign(values="")
    runs["values"] = [_values(run) for run in runs.to_dict("records")]  # type: ignore[arg-type]
    as_declared = (runs["model.match"] == "width") | (runs["model.cell"] == REFERENCE_CELL)
    declared = runs["model.hidden_size"].where(as_declared)  # a trial that failed early does not know its width
    runs["hidden_size_resolved"] = runs["hidden_size_resolved"].fillna(declared)
    compared = compared_columns(runs, study.factor)
    runs = as_searched(runs)
    runs = runs.assign(arm=arm_labels(runs, study.factor, compared), dataset=dataset_names(runs))
    runs = by_matching(runs)
    runs = runs if study.factor == DECLARED else by_execution(runs)
    held = [name for name in held_columns(runs, study.factor, compared) if name not in _NOT_HELD]
    runs = runs.assign(scene=numbered(runs, held))
    runs = _newest_code(runs)
    scenes = scenes_of(runs, [name for name in held if name != "data.use_test"], study.factor)
    searches = [_search(rows) for _, rows in runs.groupby("scene", sort=True)]
    return Tried(_tidy(runs), scenes, tuple(searches))


def _one_execution(records: pd.DataFrame) -> pd.DataFrame:
    """Of each run its first finished execution, else its latest."""
    order = records.assign(unfinished=records.status != Status.FINISHED)
    order = order.assign(at=np.where(order.unfinished, -1, 1) * np.arange(len(order)))
    return order.sort_values(["unfinished", "at"]).drop_duplicates("run_id").sort_index().reset_index(drop=True)


def _values(run: dict[str, object]) -> str:
    """What was drawn, as overrides."""
    keys = searched_keys(str(run["tuning.space"]))
    return " ".join(f"{key}={_number(run[key])}" for key in sorted(keys) if key in run)


def _number(value: object) -> str:
    """Four digits of a fraction are enough to see what won; the record has all of them."""
    return f"{value:.4g}" if isinstance(value, float) and value == value else word(value)  # noqa: PLR0124


def _newest_code(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each scene the trials of the code that ran last, and of each number one: data may have changed."""
    runs = runs.sort_values("started_at")
    newest = runs[runs.code_version == runs.groupby("scene").code_version.transform("last")]
    return newest.drop_duplicates(["scene", "arm", "tuning.trial"], keep="last").reset_index(drop=True)


def _search(rows: pd.DataFrame) -> Search:
    sampler, pruner, seed, space = rows[list(_SEARCH)].iloc[0]
    return Search(str(sampler), str(pruner), int(seed), str(space), int(rows["tuning.trials"].max()))


def _tidy(runs: pd.DataFrame) -> pd.DataFrame:
    pruned = (runs.status == Status.FINISHED) & (runs.stop_reason == "pruned").fillna(False)
    ended = runs.status.astype(str).where(~pruned, "pruned")
    named = runs[["scene", "arm", "validation_log_loss", "values"]]
    return named.assign(
        ended=ended,
        trial=runs["tuning.trial"].astype(int),
        validation_quality=runs.validation_accuracy.astype(float).where(ended == str(Status.FINISHED)),
    ).sort_values(["scene", "arm", "trial"], ignore_index=True)
