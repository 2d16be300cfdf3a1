"""A duel's record put together, and what its page says at its head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import cast

import pandas as pd

from bench.analysis.duel_sentence import name_of
from bench.duels.engine import Duel
from bench.duels.record import DuelRecord, DuelStatus, Row
from bench.report.duel_document import Findings
from bench.runs.assemble import public_config
from bench.runs.contention import ContentionReading, is_disturbed
from bench.runs.environment import describe_code, describe_machine, describe_torch, hardware_key

# Settings of the duel say what takes their place; these of a single run would mislead.
_REPLACED = ("model.cell", "model.hidden_size", "model.kernel", "model.match", "training.batch_size")


@dataclass(frozen=True)
class Measured:
    """How measuring went. repetitions: complete ones;  seconds: wall-clock;  contention: while it lasted."""

    repetitions: int
    interrupted: bool
    seconds: float
    contention: ContentionReading


def make_record(duel: Duel, measured: Measured, found: Findings, duel_id: str, started_at: datetime) -> DuelRecord:
    """The record of a duel that ends now; has to be called while its threads are set."""
    plan, run = duel.plan, duel.plan.first
    machine, seen, reading = describe_machine(), describe_torch(duel.device.type, None), measured.contention
    precision = run.config.hardware.precision
    return DuelRecord(
        duel_id=duel_id,
        status=DuelStatus.PARTIAL if measured.interrupted else DuelStatus.FINISHED,
        started_at=started_at.isoformat(timespec="milliseconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        code_version=run.code_version,
        hardware_key=hardware_key(machine, seen, 1, precision, seen.threads),
        sentence=found.sentence,
        models=list(plan.runs),
        kernels=list(plan.duel.kernels),
        matchings=list(plan.duel.matchings),
        lengths=sorted(plan.duel.lengths),
        batch_sizes=sorted(plan.duel.batch_sizes),
        widths=sorted(plan.duel.widths),
        centre_length=plan.centre.length,
        centre_batch_size=plan.centre.batch_size,
        centre_width=plan.centre.width,
        repetitions=measured.repetitions,
        repetitions_planned=plan.duel.repetitions,
        turns=len(duel.turns),
        measuring_seconds=round(measured.seconds, 3),
        seed=run.config.seed,
        data_fingerprint=run.corpus.fingerprint,
        data_origin=run.corpus.origin,
        data_revision=run.corpus.revision,
        config={key: value for key, value in public_config(run.config).items() if key not in _REPLACED},
        ratios=_rows(found.ratios),
        shares=_rows(found.shares),
        speeds=_rows(found.speeds),
        growth=_rows(found.growth),
        operators={f"{cell}/{kernel}": names for (cell, kernel), names in duel.operators.items()},
        native=_native(duel),
        matrix_product_gflops=found.matrix_product_gflops,
        precision=precision,
        disturbed=is_disturbed(reading, measured.seconds),
        **asdict(describe_code()),
        **asdict(machine),
        **asdict(seen),
        **asdict(reading),
    )


def facts_of(record: DuelRecord) -> list[tuple[str, str]]:
    """Names and values for the head of the page."""
    rate = record.matrix_product_gflops
    return [
        ("Models", ", ".join(map(name_of, record.models))),
        ("Texts", f"{record.config['data.name']} ({record.data_origin})"),
        ("Centre", f"{record.centre_length} tokens, {record.centre_batch_size} texts, width {record.centre_width}"),
        ("Repetitions", f"{record.repetitions} in {record.measuring_seconds:.0f} s, {record.turns:,} timed steps"),
        ("Machine", f"{record.gpu_model or record.cpu_model}, {record.threads} threads, torch {record.torch_version}"),
        ("Matrix product", "unknown" if rate is None else f"{rate:,.0f} GFLOP/s, 1,024 × 1,024"),
    ]


def warnings_of(record: DuelRecord) -> list[str]:
    """What a reader has to know first."""
    return [*_incomplete(record), *_disturbance(record), *_without_native(record)]


def _incomplete(record: DuelRecord) -> Iterator[str]:
    if record.status is DuelStatus.PARTIAL:
        yield f"Interrupted after {record.repetitions} of {record.repetitions_planned} repetitions."


def _disturbance(record: DuelRecord) -> Iterator[str]:
    if record.disturbed:
        others, steal = record.cpu_other_fraction or 0.0, record.cpu_steal_fraction or 0.0
        yield (
            f"Disturbed: other processes took {others:.0%} of the processor and other virtual machines {steal:.0%}. "
            f"{_rows_disturbed(record)}"
        )


def _rows_disturbed(record: DuelRecord) -> str:
    """What that does to the findings."""
    number = sum(bool(row["disturbed"]) for row in record.ratios)
    if not number:
        return "Every setting had rounds that were not; those alone count."
    return (
        f"{number} of {len(record.ratios)} ratios had to count disturbed rounds too, and cells do not suffer alike: "
        "repeat the duel on a quiet machine."
    )


def _without_native(record: DuelRecord) -> Iterator[str]:
    if record.native is not None and "step" in record.kernels and record.accelerator == "cpu":
        yield f"The step kernel ran without its compiled part: {record.native}."


def _native(duel: Duel) -> str | None:
    from bench.models.kernels import native

    return native.why_not()


def _rows(frame: pd.DataFrame) -> list[Row]:
    plain = frame.astype(object).where(frame.notna(), None)
    return cast(list[Row], plain.to_dict("records"))
