"""The closing table of a run: quality, speed, sizes, where the record is, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.declarations import BASELINES
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store

_NEXT_CELL = {"gru": "lstm", "lstm": "gru", "rnn": "gru"}


def show_record(record: RunRecord, store: Store, console: Console, typed: Sequence[str] = ()) -> None:
    """Print how a run ended: one line for a member of a sweep or a run that failed, a table otherwise.

    typed: the overrides that asked for it, kept in the suggestion of what to try next.
    """
    folder = store.folder(record.run_id, record.execution_id)
    if record.status is not Status.FINISHED:
        line = f"{record.status}: {record.error_message or record.error_type}; record in {folder}"
        console.print(Text(line, "yellow" if record.status is Status.INTERRUPTED else "red"))
        return
    if record.config.get("sweep.member"):
        accuracy = "test accuracy " + _percent(record.test_accuracy)
        if record.test_accuracy is None:
            accuracy = "validation accuracy " + _percent(record.validation_accuracy)
        seconds = _number(record.train_seconds, "s") + (" (disturbed)" if record.timing_disturbed else "")
        console.print(f"finished: {accuracy}, {seconds} of training, record in {folder}", markup=False)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (*_quality(record), *_speed(record), *_sizes(record)):
        table.add_row(name, Text(value, "bold"))
    console.print(table, soft_wrap=False)
    console.print(f"record    {folder}", markup=False)
    console.print(f"next      {_next(record, typed)}", markup=False)


def _quality(record: RunRecord) -> Iterator[tuple[str, str]]:
    if record.test_accuracy is not None:
        yield "test accuracy", f"{_percent(record.test_accuracy)}  (macro F1 {_percent(record.test_macro_f1)})"
    else:
        yield "test accuracy", "there is no test split"
    at = f"best of {record.epochs_run} epochs: {record.best_epoch}"
    if record.inverse_regularisation is not None:
        at = f"inverse regularisation, the best of those tried: {record.inverse_regularisation:g}"
    yield "validation accuracy", f"{_percent(record.validation_accuracy)}  ({at})"


def _speed(record: RunRecord) -> Iterator[tuple[str, str]]:
    in_steps = record.inverse_regularisation is None
    rate = f", {_number(record.tokens_per_second, 'tokens/s', 0)}" if in_steps else ""
    yield "training", f"{_number(record.train_seconds, 's')}{rate}"
    step = f"{_number(record.step_milliseconds_p50, 'ms')} a step, " if in_steps else ""
    labelled = f"{_number(record.inference_milliseconds_p50, 'ms')} to label one text"
    if record.inference_samples_per_second is not None:
        labelled += f", {record.inference_samples_per_second:,.0f} a second in batches of 256"
    yield "speed", f"{step}{labelled}"
    if record.padding_fraction is not None:
        yield "padding", f"{_percent(record.padding_fraction)} of each batch"
    if record.timing_disturbed:
        yield "disturbed", f"{_disturbance(record)}: these times are longer than on a quiet machine"


def _disturbance(record: RunRecord) -> str:
    """Who took the processor."""
    steal, other, wait = record.cpu_steal_fraction or 0.0, record.cpu_other_fraction or 0.0, record.cpu_wait_fraction
    if steal >= other:
        return f"other virtual machines took {steal:.0%} of the processor"
    waited = f", and threads waited for it {wait:.0%} of their time" if wait else ""
    return f"other processes took {other:.0%} of the processor{waited}"


def _sizes(record: RunRecord) -> Iterator[tuple[str, str]]:
    total, recurrent = record.parameters_total or 0, record.parameters_recurrent or 0
    where = "in the encoder" if record.config.get("model.cell") in BASELINES else "recurrent"
    yield "parameters", f"{total:,}, of them {recurrent:,} {where}"
    if record.peak_memory_bytes is not None:
        host = record.peak_host_memory_bytes if record.peak_gpu_memory_bytes is not None else None
        beside = "" if host is None else f" of the GPU, {host / 2**20:,.0f} MiB of the host"
        yield "peak memory", f"{record.peak_memory_bytes / 2**20:,.0f} MiB{beside}"


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{fraction:.1%}"


def _number(value: float | None, unit: str, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f} {unit}"


def _next(record: RunRecord, typed: Sequence[str]) -> str:
    """A command that answers the next question: the same settings, another cell beside this one, several seeds."""
    cell = str(record.config.get("model.cell"))
    kept = [override for override in typed if not override.startswith(("model=", "seed=", "force="))]
    words = [f"model={cell},{_NEXT_CELL.get(cell, 'gru')}", *map(shlex.quote, kept), "seed='range(3)'"]
    return f"python -m bench -m {' '.join(words)}"
