"""Puts a record together: what names a run, and what one fit has measured so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from bench.config import BenchConfig, Scalar, flatten
from bench.files import without_home
from bench.models.sizes import Sizes, attended_length, sizes_of
from bench.runs.cell_sources import cell_package
from bench.runs.contention import is_disturbed
from bench.runs.digest import digest
from bench.runs.environment import describe_code, describe_machine, describe_torch
from bench.runs.record import OF_QUESTIONS, RunRecord, Status
from bench.runs.store import new_execution_id

if TYPE_CHECKING:
    from bench.embeddings.table import EmbeddingTable
    from bench.runs.training import Fit


_PASSES = 3  # through the recurrent layers in a training step: forward, and backward at about twice its cost


class Named(Protocol):
    """What names a run: a `ResolvedRun`, or a member of a sweep."""

    @property
    def config(self) -> BenchConfig:
        """What was asked for."""

    @property
    def run_id(self) -> str:
        """Which run it is."""

    @property
    def pair_key(self) -> str:
        """With whom it pairs."""

    @property
    def arm(self) -> str:
        """The configuration without the seed."""

    @property
    def code_version(self) -> str:
        """By which sources."""


def public_config(config: BenchConfig) -> dict[str, Scalar]:
    """The dotted keys of a configuration, home folders written as `~`, as records and trackers hold them.

    The seed is left out: it is a field of its own. So are the protocol, the claim and the settings of duels, which
    belong to a question and not to a run. The address of a tuning study may hold a password.
    """
    return {
        key: without_home(value) if isinstance(value, str) else value
        for key, value in flatten(config)
        if key not in ("seed", "tuning.storage") and not key.startswith(OF_QUESTIONS)
    }


def make_record(
    run: Named, started_at: datetime, measured: dict[str, object], execution_id: str | None = None
) -> RunRecord:
    """The record of an execution that ends now.

    measured: further fields, `status` and `hardware_key` among them;  execution_id: None for a new one.
    """
    return RunRecord(
        run_id=run.run_id,
        execution_id=execution_id or new_execution_id(started_at),
        pair_key=run.pair_key,
        arm=run.arm,
        code_version=run.code_version,
        started_at=started_at.isoformat(timespec="milliseconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seed=run.config.seed,
        sweep_name=run.config.sweep.name,
        config=public_config(run.config),
        **{name: _finite(value) for name, value in measured.items()},  # type: ignore[arg-type]
    )


def record_without_fit(
    run: Named, started_at: datetime, outcome: Mapping[str, object], execution_id: str | None = None
) -> RunRecord:
    """The record of an execution that ended before there was a model.

    outcome: status, error type and message;  execution_id: None for a new one.
    """
    known = {"hardware_key": "unknown", **asdict(describe_code()), **asdict(describe_machine())}
    return make_record(run, started_at, {**known, **outcome}, execution_id)


def fitted_record(fit: Fit, started_at: datetime, outcome: dict[str, object], execution_id: str) -> RunRecord:
    """The record of a fit, finished or not. outcome: `status`, and what is known of the execution as a whole."""
    fields = (
        _data_fields(fit)
        | _size_fields(fit)
        | _quality_fields(fit)
        | _speed_fields(fit)
        | _environment_fields(fit)
        | fit.flow
    )
    fields |= asdict(fit.gradient_norms.sizes())
    if outcome["status"] is Status.FINISHED:
        fields["stop_reason"] = fit.stop_reason
    fields |= {"resumed_from": fit.checkpoints.resumed_from, "resumed_epochs": fit.checkpoints.resumed_epochs}
    return make_record(fit.resolved, started_at, fields | fit.record_fields() | outcome, execution_id)


def _finite(value: object) -> object:
    """A number that JSON can hold; what is not finite could not be measured."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _data_fields(fit: Fit) -> dict[str, object]:
    data, resolved = fit.data, fit.resolved
    return {
        "data_fingerprint": resolved.corpus.fingerprint,
        "data_origin": resolved.corpus.origin,
        "data_revision": resolved.corpus.revision,
        "train_texts": len(data.train),
        "validation_texts": len(data.validation),
        "test_texts": None if data.test is None else len(data.test),
        "classes": data.classes or None,
        "majority_share": data.majority_share,
        "vocabulary_words": len(data.vocabulary.words),
        "train_tokens": data.train_tokens,
        "truncated_fraction": data.truncated_fraction,
        "unknown_token_fraction": data.unknown_token_fraction,
        **({} if resolved.corpus.duplicates is None else asdict(resolved.corpus.duplicates)),
        "embedding_fingerprint": resolved.vectors.fingerprint if resolved.vectors else None,
        "embedding_dimension": resolved.dimension,
        **_table_fields(fit.table),
    }


def _table_fields(table: EmbeddingTable | None) -> dict[str, object]:
    """How word vectors came about, where there are any."""
    names = [] if table is None else [item.name for item in fields(table) if item.name != "values"]
    return {f"embedding_{name}": getattr(table, name) for name in names}


def _size_fields(fit: Fit) -> dict[str, object]:
    total, trainable = fit.parameters
    sizes = _sizes(fit)
    return {
        "hidden_size_resolved": fit.resolved.hidden_size,
        "parameters_total": total,
        "parameters_trainable": trainable,
        "parameters_recurrent": sizes.recurrent,
        "flops_per_token": sizes.flops_per_token,
    }


def _sizes(fit: Fit) -> Sizes:
    resolved = fit.resolved
    outputs = fit.task.output_size(fit.data.classes)
    shape = (len(fit.data.vocabulary), resolved.dimension, outputs)
    length = attended_length(fit.data.train.lengths)
    return sizes_of(resolved.config.model, resolved.hidden_size, *shape, length=length)


def _quality_fields(fit: Fit) -> dict[str, object]:
    fields: dict[str, object] = {
        "best_epoch": fit.selection.best_epoch,
        "epochs_run": sum(row.split == "validation" for row in fit.curve.rows) or None,
    }
    evaluation = fit.evaluation
    if evaluation is None:
        return fields
    if fit.data.test is not None:
        predictions = evaluation.predictions
        fields |= asdict(digest(predictions.correct.numpy(), fit.data.test.lengths, predictions.rows.numpy()))
        if fit.task.per_token:
            fields["test_tokens"] = len(predictions.labels)
    test, validation = evaluation.test, evaluation.validation
    if test is not None:
        fields |= {f"test_{name}": value for name, value in asdict(test).items()}
    return fields | {
        "validation_accuracy": validation.accuracy,
        "validation_macro_f1": validation.macro_f1,
        "validation_log_loss": validation.log_loss,
        "validation_mean_squared_error": validation.mean_squared_error,
        "train_accuracy": evaluation.train.accuracy,
        "generalisation_gap": evaluation.train.accuracy - (test or validation).accuracy,
    }


def _speed_fields(fit: Fit) -> dict[str, object]:
    timing, reading = fit.timing, fit.contention
    fields: dict[str, object] = {
        **asdict(fit.memory),
        "peak_memory_bytes": fit.memory.peak_memory_bytes,
        **({} if fit.inference is None else asdict(fit.inference)),
    }
    if timing is None:
        return fields
    target = fit.resolved.config.data.target_accuracy
    reached = next(
        (row for row in fit.curve.rows if target is not None and row.accuracy is not None and row.accuracy >= target),
        None,
    )
    fields["epochs_to_target"] = None if reached is None else reached.epoch
    if fit.checkpoints.on_other_hardware:  # one clock read on two machines says nothing of either
        return fields | {"steps": timing.steps, "padding_fraction": timing.padding_fraction}
    measured = {name: value for name, value in vars(timing).items() if name != "cumulative"}
    measured["validation_curve"] = [
        [timing.seconds_after(row.step), row.accuracy] for row in fit.curve.rows if row.accuracy is not None
    ]
    return fields | measured | asdict(reading) | {
        "seconds_to_target": None if reached is None else timing.seconds_after(reached.step),
        "achieved_flops_per_second": _PASSES * _sizes(fit).flops_per_token * timing.padded_tokens_per_second,
        "timing_disturbed": is_disturbed(reading, timing.train_seconds),
    }  # fmt: skip


def _environment_fields(fit: Fit) -> dict[str, object]:
    hardware = fit.resolved.config.hardware
    machine = describe_machine()
    packages = machine.packages | cell_package(fit.resolved.config.model.cell)
    seen = describe_torch(fit.trainer.strategy.root_device.type, fit.threads)
    return {
        **asdict(describe_code()),
        **asdict(machine) | {"packages": packages},
        **asdict(seen),
        "devices": hardware.devices,
        "hardware_key": fit.hardware_key,
        "kernel": fit.resolved.kernel,
        "kernel_auto": fit.resolved.kernel_auto,
        "kernel_operators": fit.probe.operators,
    }
