"""The gradient flow of a finished run: as its record keeps it, or measured again from its weights and its corpus."""

from __future__ import annotations

from dataclasses import replace

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.models.diagnostics import recurs
from bench.runs.gradient_flow import gradient_flow_fields
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.record import RunRecord, Status
from bench.runs.recorded import config_of
from bench.runs.store import Store
from bench.runs.trained import TrainedRun, load
from bench.runs.training import Fit, borrowed_torch, quiet_lightning


def record_with_flow(store: Store, run: str) -> RunRecord:
    """The record of a run with its gradient flow, which is measured now where training did not.

    The first weights are drawn again from the run's seed; nothing is trained, and nothing is written.
    run: its id, the beginning of it, or `latest`.
    Raises: `UserError` if there is no such run, it does not recur, it kept neither weights nor its gradient flow, or
    the corpus and word vectors that it was trained on are not there.
    """
    if run != "latest":
        executions = store.executions(store.find(run).run_id)
        finished = [one for one in executions if one.status is Status.FINISHED]
        kept = next((one for one in finished if one.gradient_flow), None)
        if kept is not None:
            return kept
    trained = load(store, run)
    if trained.record.gradient_flow:
        return trained.record
    if not recurs(trained.network):
        raise UserError(
            f"run {trained.record.run_id} is of model={trained.config.model.cell}, which has no states that follow "
            "each other: --gradients looks at recurrent cells"
        )
    return replace(trained.record, **_measured(trained, store))  # type: ignore[arg-type]


def _measured(trained: TrainedRun, store: Store) -> dict[str, object]:
    """What `training.gradient_flow=true` would have put into the record, measured on this machine's CPU."""
    record = trained.record
    config = config_of(record)
    hardware = HardwareConfig(accelerator="cpu", threads=config.hardware.threads)
    resolved = resolve(replace(config, hardware=hardware))
    _check_same(record, resolved)
    with quiet_lightning(), borrowed_torch(hardware):
        fit = Fit(resolved, store.folder(record.run_id, record.execution_id))  # prepares, and writes nothing
        first = fit.network.state_dict()
        return gradient_flow_fields(trained.network, config.model.cell, first, fit.data.validation)


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
