"""Mirrors made from records, on any machine and at any time: what W&B lacks of finished work."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.config import WandbConfig
from bench.runs.identity import ResolvedRun
from bench.runs.record import RunRecord
from bench.runs.store import CURVE, PREDICTIONS, Store
from bench.tracking.description import describe_record
from bench.tracking.uploads import wandb_folders
from bench.tracking.wandb_run import begin, finish, log_row, under_agent

_NOT_METRICS = ("step", "epoch", "split", "train_seconds")


def mirror(record: RunRecord, store: Store, chosen: WandbConfig, label_names: Sequence[str] | None = None) -> bool:
    """Send one record to W&B with its learning curve: the run that tracking would have left.

    chosen: project, entity and mode;  label_names: the classes in order, read from the record where they are not given.
    Returns: whether it stayed on this disk.
    """
    folder = store.folder(record.run_id, record.execution_id)
    run = begin(describe_record(record), store.results, chosen)
    for row in _rows(folder / CURVE):
        log_row(run, _metrics(row), int(row["step"]))  # type: ignore[call-overload]
    offline = run.offline
    finish(run, record, label_names or _label_names(record, folder))
    return offline


def mirror_finished(resolved: ResolvedRun, record: RunRecord, store: Store) -> None:
    """Fill the run that a W&B agent opened for work that was finished before; without effect outside of agents."""
    chosen = resolved.config.logger.wandb
    if chosen is not None and under_agent():
        mirror(record, store, chosen, resolved.corpus.label_names)


def without_mirror(store: Store, run_ids: Collection[str]) -> list[RunRecord]:
    """Of these runs, the records of those that W&B has no folder of on this disk: the first finished execution's, else
    the latest one's."""
    mirrored = {folder.run_id for folder in wandb_folders(store.results)}
    return [record for run_id in run_ids if run_id not in mirrored and (record := store.standing(run_id)) is not None]


def wandb_of(records: Iterable[RunRecord]) -> WandbConfig:
    """The project and team of runs: `WANDB_PROJECT` and `WANDB_ENTITY`, else those that the first one was sent to, else
    the default ones."""
    sent = next((record.config for record in records if record.config.get("logger.wandb.project")), {})
    project = os.environ.get("WANDB_PROJECT") or sent.get("logger.wandb.project") or WandbConfig.project
    entity = os.environ.get("WANDB_ENTITY") or sent.get("logger.wandb.entity")
    return WandbConfig(project=str(project), entity=None if entity is None else str(entity))


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    """The rows of a learning curve; none where a run left none."""
    import pyarrow.parquet as pq

    if path.is_file():
        yield from pq.read_table(path).to_pylist()


def _metrics(row: Mapping[str, object]) -> dict[str, float]:
    """A row under the names that the learning curve has under way."""
    named = {f"{row['split']}/{name}": value for name, value in row.items() if name not in _NOT_METRICS}
    return {name: value for name, value in {**named, "epoch": row["epoch"]}.items() if value is not None}  # type: ignore[misc]


def _label_names(record: RunRecord, folder: Path) -> list[str]:
    """The classes in order: as declared, else those of the predictions as text or as numbers, else numbered."""
    import pyarrow.parquet as pq

    count = len(record.test_confusion or ())
    declared = str(record.config.get("data.labels") or "").split(",")
    if len(declared) == count:
        return declared
    if (folder / PREDICTIONS).is_file():
        names = pq.read_table(folder / PREDICTIONS, columns=["label"])["label"].unique().to_pylist()
        if len(names) == count:
            return sorted(names, key=int) if all(name.lstrip("+-").isdigit() for name in names) else sorted(names)
    return [f"class {number}" for number in range(count)]
