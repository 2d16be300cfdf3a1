"""Configuration in, record out: carry out one run and write down what happened, however it ended."""

from __future__ import annotations

import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

import pyarrow as pa
from pytorch_lightning.loggers import Logger
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from bench.config import flatten
from bench.data.module import PreparedData
from bench.distributed import is_first_process
from bench.errors import DivergedError, UserError
from bench.files import without_home
from bench.models.sizes import sizes_of
from bench.runs.environment import Contention, describe_code, describe_machine, describe_torch, hardware_key
from bench.runs.identity import ResolvedRun
from bench.runs.progress import RunProgress
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store, new_execution_id
from bench.runs.training import Fit, quiet_lightning


class Trackers(Protocol):
    """Where a run is mirrored while it lasts (`bench.tracking` implements it)."""

    @property
    def loggers(self) -> Sequence[Logger]:
        """Lightning loggers that receive the learning curve."""

    def finish(self, record: RunRecord) -> str | None:
        """Take in the final record and close; a line for the person, if there is something to do."""


class Interrupted(BaseException):
    """Ctrl-C or a request to terminate; passes through Lightning, which would exit on `KeyboardInterrupt`."""


def execute(
    resolved: ResolvedRun,
    store: Store,
    open_trackers: Callable[[ResolvedRun], Trackers] | None = None,
    console: Console | None = None,
) -> RunRecord:
    """Train and evaluate one run, write its record, and return it, whatever its status.

    Raises: `UserError` for bad input that shows only when the data are prepared; nothing is written then.
    """
    began, started_at = time.perf_counter(), datetime.now(UTC)
    contention = Contention()
    outcome: dict[str, object] = {"status": Status.FINISHED}
    with quiet_lightning():
        fit = Fit(resolved)
        if console is not None and is_first_process():
            describe(fit, console)
        trackers = open_trackers(resolved) if open_trackers is not None and is_first_process() else None
        fit.trainer.loggers = list(trackers.loggers) if trackers else []
        watching = console is not None and is_first_process()
        recipe = resolved.config.training
        progress = RunProgress(console, recipe, fit.steps_per_epoch, fit.clock) if watching and console else None
        fit.curve.on_row = progress.on_row if progress else None
        try:
            with _signals_raise(), progress or nullcontext():
                fit.run()
        except UserError:
            raise
        except (Exception, Interrupted) as error:
            outcome = _describe_failure(error, resolved)
        wall = time.perf_counter() - began
        record = _record(fit, started_at, outcome | asdict(contention.finish()) | {"wall_seconds": wall})
        if is_first_process():
            _write(store, record, fit)
            note = trackers.finish(record) if trackers is not None else None
            if console is not None and note is not None:
                console.print(note, markup=False)
    return record


def describe(fit: Fit, console: Console) -> None:
    """Say what is about to be trained, on what."""
    data, resolved = fit.data, fit.resolved
    test = "no test split: validation only" if data.test is None else f"{len(data.test):,} test"
    cut = f", {data.truncated_fraction:.0%} of them cut at {data.train.max_length} tokens"
    total, _ = fit.parameters
    console.print(
        f"{resolved.config.model.cell.upper()} on {resolved.corpus.name} ({resolved.corpus.origin}): "
        f"{len(data.train):,} training texts{cut}, {len(data.validation):,} validation, {test}; "
        f"{len(data.vocabulary.words):,} words, {total:,} parameters, {fit.threads} threads",
        highlight=False,
    )


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM end the run as interrupted, with a record; a second signal is the default's affair."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for name, handler in before.items():
            signal.signal(name, handler)
        raise Interrupted(signal.Signals(number).name)

    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    for name in before:
        signal.signal(name, interrupt)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _describe_failure(error: BaseException, resolved: ResolvedRun) -> dict[str, object]:
    """Status, type and one line of a failure; for a diverged run, what to try."""
    message = " ".join(without_home(str(error)).split()) or "no message"
    status = Status.FAILED
    if isinstance(error, Interrupted):
        status, message = Status.INTERRUPTED, f"stopped by {error}"
    elif isinstance(error, DivergedError):
        status, recipe = Status.DIVERGED, resolved.config.training
        clip = "training.gradient_clip=1" if recipe.gradient_clip is None else "a smaller training.gradient_clip"
        message = f"{message}; try training.learning_rate={recipe.learning_rate / 10:g} or {clip}"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{message} ({Path(frame.filename).name}:{frame.lineno})"
    return {"status": status, "error_type": type(error).__name__, "error_message": message}


def _record(fit: Fit, started_at: datetime, outcome: dict[str, object]) -> RunRecord:
    """Everything that is known of an execution at its end."""
    resolved = fit.resolved
    fields = (
        _data_fields(fit) | _size_fields(fit) | _quality_fields(fit) | _speed_fields(fit) | _environment_fields(fit)
    )
    if outcome["status"] is Status.FINISHED:
        fields["stop_reason"] = fit.stop_reason
    return RunRecord(
        run_id=resolved.run_id,
        execution_id=new_execution_id(started_at),
        pair_key=resolved.pair_key,
        arm=resolved.arm,
        code_version=resolved.code_version,
        started_at=started_at.isoformat(timespec="milliseconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seed=resolved.config.seed,
        sweep_name=resolved.config.sweep.name,
        config={
            key: without_home(value) if isinstance(value, str) else value
            for key, value in flatten(resolved.config)
            if key != "seed"
        },
        **{name: _finite(value) for name, value in (fields | outcome).items()},  # type: ignore[arg-type]
    )


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
        "classes": data.classes,
        "majority_share": data.majority_share,
        "vocabulary_words": len(data.vocabulary.words),
        "train_tokens": data.train_tokens,
        "truncated_fraction": data.truncated_fraction,
        "unknown_token_fraction": data.unknown_token_fraction,
        "embedding_fingerprint": resolved.vectors.fingerprint if resolved.vectors else None,
        "embedding_dimension": resolved.dimension,
        "embedding_coverage_types": fit.table.coverage_types,
        "embedding_coverage_tokens": fit.table.coverage_tokens,
    }


def _size_fields(fit: Fit) -> dict[str, object]:
    resolved = fit.resolved
    total, trainable = fit.parameters
    sizes = sizes_of(
        resolved.config.model, resolved.hidden_size, len(fit.data.vocabulary), resolved.dimension, fit.data.classes
    )
    return {
        "hidden_size_resolved": resolved.hidden_size,
        "parameters_total": total,
        "parameters_trainable": trainable,
        "parameters_recurrent": sizes.recurrent,
        "flops_per_token": sizes.flops_per_token,
    }


def _quality_fields(fit: Fit) -> dict[str, object]:
    fields: dict[str, object] = {
        "best_epoch": fit.selection.best_epoch,
        "epochs_run": sum(row.split == "validation" for row in fit.curve.rows) or None,
    }
    evaluation = fit.evaluation
    if evaluation is None:
        return fields
    test, validation = evaluation.test, evaluation.validation
    if test is not None:
        fields |= {f"test_{name}": value for name, value in asdict(test).items()}
    return fields | {
        "validation_accuracy": validation.accuracy,
        "validation_macro_f1": validation.macro_f1,
        "validation_log_loss": validation.log_loss,
        "train_accuracy": evaluation.train.accuracy,
        "generalisation_gap": evaluation.train.accuracy - (test or validation).accuracy,
    }


def _speed_fields(fit: Fit) -> dict[str, object]:
    timing = fit.timing
    fields: dict[str, object] = {
        "inference_milliseconds_p50": fit.inference_milliseconds,
        "peak_memory_bytes": fit.peak_memory_bytes,
    }
    if timing is None:
        return fields
    target = fit.resolved.config.data.target_accuracy
    reached = next(
        (row for row in fit.curve.rows if target is not None and row.accuracy is not None and row.accuracy >= target),
        None,
    )
    measured = {name: value for name, value in vars(timing).items() if name != "cumulative"}
    return fields | measured | {
        "seconds_to_target": None if reached is None else timing.seconds_after(reached.step),
        "epochs_to_target": None if reached is None else reached.epoch,
    }  # fmt: skip


def _environment_fields(fit: Fit) -> dict[str, object]:
    hardware = fit.resolved.config.hardware
    machine = describe_machine()
    seen = describe_torch(fit.trainer.strategy.root_device.type, fit.threads)
    return {
        **asdict(describe_code()),
        **asdict(machine),
        **asdict(seen),
        "devices": hardware.devices,
        "hardware_key": hardware_key(machine, seen, hardware.devices, hardware.precision, fit.threads),
        "kernel": fit.resolved.kernel,
        "kernel_operators": fit.probe.operators,
    }


def _write(store: Store, record: RunRecord, fit: Fit) -> None:
    keep = fit.resolved.config.keep_weights
    best = fit.selection.weights if keep in ("best", "all") and fit.evaluation is not None else {}
    last = fit.last_weights if keep == "all" else {}
    store.write(
        record,
        curve=_curve_table(fit),
        predictions=_predictions_table(fit),
        weights=_weights_writer(best),
        weights_last=_weights_writer(last),
    )


def _weights_writer(weights: dict[str, Tensor]) -> Callable[[Path], object] | None:
    if not weights:
        return None
    return lambda path: save_file({name: value.contiguous() for name, value in weights.items()}, path)


def _curve_table(fit: Fit) -> pa.Table | None:
    """A row per evaluation and per N steps, with the clock's reading at each."""
    if not fit.curve.rows:
        return None
    timing = fit.timing
    seconds = [timing.seconds_after(row.step) if timing else None for row in fit.curve.rows]
    rows = [asdict(row) | {"train_seconds": second} for row, second in zip(fit.curve.rows, seconds, strict=True)]
    return pa.Table.from_pylist(rows)


def _predictions_table(fit: Fit) -> pa.Table | None:
    """A row per text of the test split (validation where there is none)."""
    if fit.evaluation is None:
        return None
    data: PreparedData = fit.data
    texts, predictions = data.test or data.validation, fit.evaluation.predictions
    names = fit.resolved.corpus.label_names
    predicted = predictions.probabilities.argmax(dim=1)
    return pa.table(
        {
            "id": [texts.names[row] for row in predictions.rows.tolist()],
            "label": [names[label] for label in predictions.labels.tolist()],
            "predicted": [names[label] for label in predicted.tolist()],
            "probabilities": predictions.probabilities.tolist(),
            "length": texts.lengths[predictions.rows.numpy()],
        }
    )
