"""The gradient flow of a finished run: as its record keeps it, or measured again from its weights and its corpus."""

from __future__ import annotations

from dataclasses import replace

from bench.config import HardwareConfig
from bench.declarations import is_recurrent
from bench.errors import UserError
from bench.runs.callbacks import copied_weights
from bench.runs.gradient_flow import gradient_flow_fields
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import Store
from bench.runs.trained import TrainedRun, load
from bench.runs.trainer import borrowed_torch, quiet_lightning
from bench.runs.training import Fit
from bench.runs.weights import LATEST


def record_with_flow(store: Store, run: str) -> RunRecord:
    """The record of a run with its gradient flow, which is measured now where training did not.

    The first weights are drawn again from the run's seed; nothing is trained, and nothing is written.
    run: its id, the beginning of it, or `latest`.
    Raises: `UserError` if there is no such run, it does not recur, it kept neither weights nor its gradient flow, or
    the corpus and word vectors that it was trained on are not there.
    """
    if run != LATEST:
        record = store.find(run)
        _check_recurs(record)
        finished = [one for one in store.executions(record.run_id) if one.status is Status.FINISHED]
        if kept := [one for one in finished if one.gradient_flow]:
            return kept[0]
    trained = load(store, run)
    _check_recurs(trained.record)
    if trained.record.gradient_flow:
        return trained.record
    return replace(trained.record, **_measured(trained, store))  # type: ignore[arg-type]


def _check_recurs(record: RunRecord) -> None:
    """Raises: `UserError` for a model in which no state follows another one."""
    cell = str(record.config.get("model.cell"))
    if not is_recurrent(cell):
        raise UserError(
            f"run {record.run_id} is of model={cell}, which has no states that follow each other: --gradients looks at "
            "recurrent cells"
        )


def _measured(trained: TrainedRun, store: Store) -> dict[str, object]:
    """What `training.gradient_flow=true` would have put into the record, measured on this machine's CPU."""
    record = trained.record
    config = config_of(record)
    hardware = HardwareConfig(accelerator="cpu", threads=config.hardware.threads)
    resolved = resolve(replace(config, hardware=hardware))
    _check_same(record, resolved)
    with quiet_lightning(), borrowed_torch(hardware):
        fit = Fit(resolved, store.folder(record.run_id, record.execution_id))  # prepares, and writes nothing
        first = copied_weights(fit.network)
        fit.network.load_state_dict(trained.network.state_dict())
        return gradient_flow_fields(fit.network, config.model.cell, first, fit.data.validation)


def _check_same(record: RunRecord, resolved: ResolvedRun) -> None:
    """Other texts or vectors are not those that the run began with.

    Raises: `UserError` if they differ from the recorded ones.
    """
    vectors = resolved.vectors.fingerprint if resolved.vectors else None
    for what, before, now, key in (
        ("data", record.data_fingerprint, resolved.corpus.fingerprint, "data.path=DIR"),
        ("word vectors", record.embedding_fingerprint, vectors, "embedding.path=FILE"),
    ):
        if before != now:
            raise UserError(
                f"run {record.run_id}: its {what} are not those found now (fingerprint {before} recorded, {now} "
                f"found), and its gradients cannot be measured on others: train it again with force=true {key}"
            )
