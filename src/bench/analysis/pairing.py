"""Which runs can be set side by side: from a table of records to runs that pair by seed, and those set apart.

Two runs pair when everything is equal but what is compared (by default the cell) and what follows from it (its width,
its forget bias): data and their revision, vectors, recipe, code, precision, seed. Of tuned runs the search is held
equal, not what it found for each arm. Everything else is set apart, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.arms import arm_labels, compared_columns, followers, simplicity
from bench.analysis.disturbance import disturbed_timings
from bench.analysis.executions import DECLARED, by_execution, one_kernel, without_echoes
from bench.analysis.merging import without_conflicts
from bench.analysis.scenes import MATCHINGS, Scene, beside_cells, by_matching, dataset_names, numbered, scenes_of
from bench.analysis.set_apart import SetApart, one_revision, trials_apart, usable, with_company
from bench.analysis.tuned import as_searched, budget_columns, largest_budget, without_trials
from bench.config import ProtocolConfig
from bench.errors import UserError
from bench.runs.record import Status
from bench.runs.science import science_columns

__all__ = ["MATCHINGS", "Scene", "Study", "held_columns", "study_of"]

_RESOLVED = ("data_fingerprint", "embedding_fingerprint", "embedding_dimension", "model.hidden_size", DECLARED)
_MEASURED = (
    "run_id", "execution_id", "seed", "validation_accuracy", "train_seconds", "inference_milliseconds_p50",
    "tokens_per_second", "parameters_total", "parameters_recurrent", "flops_per_token", "peak_memory_bytes",
    "hardware_key", "train_texts", "test_texts", "test_tokens", "classes", "test_correct", "test_by_length",
    "validation_curve", "data.target_accuracy", "kernel", "timing_disturbed",
)  # fmt: skip
_RENAMED = {
    "test_accuracy": "accuracy", "test_macro_f1": "macro_f1", "test_log_loss": "log_loss",
    "inference_milliseconds_p50": "inference_milliseconds", "data.target_accuracy": "target_accuracy",
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Runs that may be compared.

    factor: the key that is compared;  arms: its values, simplest first;  scenes: by the number in column `scene`;
    runs: one row a run and matching that it answers;  metrics: primary metric by dataset;
    failures: records that did not finish;  trials: of tuning, as recorded, finished or not: no evidence.
    """

    factor: str
    arms: tuple[str, ...]
    scenes: tuple[Scene, ...]
    runs: pd.DataFrame
    metrics: dict[str, str]
    apart: tuple[SetApart, ...] = ()
    failures: pd.DataFrame = field(default_factory=pd.DataFrame)
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)


def study_of(records: pd.DataFrame, protocol: ProtocolConfig, compare: str = "model.cell") -> Study:
    """Sort out which records can be compared.

    records: as `bench.records` gives them, also several folders' concatenated;  compare: a configuration key such as
    `model.bidirectional`, or a group such as `embedding`.
    Raises: `UserError` if there is no such key or group.
    """
    compared = compared_columns(records, compare)
    records, conflicts = without_conflicts(records)
    apart = [SetApart(reason, ()) for reason in conflicts]
    records, trials = without_trials(records)
    apart += trials_apart(trials)
    failures = records[records.status != Status.FINISHED]
    finished = records[records.status == Status.FINISHED]
    runs = _first_executions(finished)
    runs, refused = usable(runs, protocol)
    apart += refused
    if runs.empty:
        return Study(compare, (), (), _tidy(runs, {}), {}, tuple(apart), failures, trials)
    runs = as_searched(runs)
    runs = runs.assign(arm=arm_labels(runs, compare, compared), dataset=dataset_names(runs))
    runs = by_matching(runs)
    runs = runs if compare == DECLARED else by_execution(runs)
    held = held_columns(runs, compare, compared)
    if "model.cell" in compared:
        runs = beside_cells(runs, held)
    runs, replaced = one_revision(runs, held)
    runs, smaller = largest_budget(runs, held)
    replaced += [SetApart(reason, run_ids) for reason, run_ids in smaller.items()]
    if DECLARED in held:
        runs = without_echoes(runs, numbered(runs, [name for name in held if name != DECLARED]))
    runs = runs.assign(scene=numbered(runs, held))
    runs, rare = one_kernel(runs)
    replaced += [SetApart(reason, run_ids) for reason, run_ids in rare.items()]
    runs, lonely = with_company(runs, held)
    apart += replaced + lonely
    scenes = scenes_of(runs, held, compare)
    runs = runs.assign(scene=numbered(runs, ["scene"]))
    metrics = _metrics(runs, protocol)
    arms = tuple(sorted(runs.arm.unique(), key=lambda arm: simplicity(str(arm))))
    return Study(compare, arms, scenes, _tidy(runs, metrics, scenes), metrics, tuple(apart), failures, trials)


def _first_executions(finished: pd.DataFrame) -> pd.DataFrame:
    """One row a run: quality of its first finished execution, time the median of those on the same hardware.

    That median is disturbed where half of these executions' times were.
    """
    finished = finished.assign(timing_disturbed=disturbed_timings(finished).astype(float))
    first = finished.drop_duplicates("run_id")
    if len(first) == len(finished):
        return first
    here = finished.groupby(["run_id", "hardware_key"], sort=False)[["train_seconds", "timing_disturbed"]]
    medians = here.median().add_suffix("_median")
    merged = first.merge(medians, left_on=["run_id", "hardware_key"], right_index=True, how="left")
    disturbed = (merged["timing_disturbed_median"] >= 0.5).astype(float)
    merged = merged.assign(train_seconds=merged["train_seconds_median"], timing_disturbed=disturbed)
    return merged.drop(columns=list(medians))


def held_columns(runs: pd.DataFrame, compare: str, compared: Sequence[str]) -> list[str]:
    """What must be equal within a scene: all that numbers depend on, but for what is compared and follows from it."""
    free = {compare, *compared, *followers(compare), "seed"}
    names = [*science_columns(map(str, runs)), *_RESOLVED, "code_version"]
    dataset = [] if compare == "data" else ["dataset"]
    science = [name for name in dict.fromkeys(names) if name in runs and name not in free]
    return [*dataset, "matching", *budget_columns(runs), *science]


def _metrics(runs: pd.DataFrame, protocol: ProtocolConfig) -> dict[str, str]:
    """The primary metric of each dataset: macro F1 where the largest class is over three times the smallest.

    Taggers are told by their accuracy, however rare some tags are; of numbers, accuracy is the share that is solved.
    Raises: `UserError` if a metric is asked for that a task does not have.
    """
    first = runs.drop_duplicates("dataset").set_index("dataset")
    if protocol.metric != "auto":
        _check_metric(first, protocol.metric)
        return dict.fromkeys(runs.dataset.unique(), protocol.metric)
    chosen = {}
    for dataset, run in first.iterrows():
        confusion, by_text = run.test_confusion, str(run.get("data.task")) != "tagging"
        sizes = [sum(row) for row in json.loads(confusion)] if isinstance(confusion, str) and by_text else [1]
        chosen[str(dataset)] = "macro_f1" if max(sizes) > 3 * min(sizes) else "accuracy"
    return chosen


def _check_metric(runs: pd.DataFrame, metric: str) -> None:
    """runs: one of each dataset, which is their index."""
    if metric == "macro_f1" and (lacking := runs.index[runs.test_macro_f1.isna()].tolist()):
        raise UserError(
            f"protocol.metric=macro_f1 needs classes, and data={lacking[0]} has numbers: use protocol.metric=auto"
        )


def _tidy(runs: pd.DataFrame, metrics: dict[str, str], scenes: Sequence[Scene] = ()) -> pd.DataFrame:
    """The columns that comparisons read, `quality` among them."""
    named = ["scene", "dataset", "arm", "matching"]
    kept = [name for name in (*named, *_MEASURED, *_RENAMED) if name in runs]
    table = runs[list(dict.fromkeys(kept))].rename(columns=_RENAMED)
    if runs.empty:
        return table.assign(quality=pd.Series(dtype=float), embedding="", pooling="", scene=0, arm="")
    by_f1 = table.dataset.map(metrics) == "macro_f1"
    numbers = table.scene.to_numpy()
    return table.assign(
        quality=table.accuracy.where(~by_f1, table.macro_f1),
        embedding=np.array([scene.embedding for scene in scenes], object)[numbers],
        pooling=np.array([scene.pooling for scene in scenes], object)[numbers],
    ).sort_values(["scene", "arm", "seed"], ignore_index=True)
