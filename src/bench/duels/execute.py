"""Carries a duel out: prepares the corpus, says how long it will take, measures, and writes the folder.

RESULTS/duels/<duel_id>/
    duel.json        the record (`bench.duels.record`), written last
    turns.parquet    a row per timed training step
    index.html, report.md, figures/, tables/
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from bench.analysis.duel_sentence import main_rows
from bench.analysis.duels import ratios
from bench.config import HardwareConfig
from bench.data.module import PreparedData, prepare
from bench.duels.contestant import device_of
from bench.duels.engine import Duel
from bench.duels.plan import Plan, fitted
from bench.duels.progress import DuelProgress, minutes
from bench.duels.record import RECORD, TURNS, DuelRecord, DuelStatus
from bench.duels.summary import Measured, facts_of, make_record, warnings_of
from bench.duels.table import turns_table
from bench.embeddings.table import build_table
from bench.files import make_folder, write_atomically
from bench.report.duel_document import Findings, duel_document
from bench.report.folder import write_report
from bench.runs.contention import Contention
from bench.runs.sentences import Sentences
from bench.runs.store import new_execution_id
from bench.runs.trainer import borrowed_torch


@dataclass(frozen=True)
class Outcome:
    """A duel that was written. folder: of its files."""

    record: DuelRecord
    findings: Findings
    folder: Path


def execute(plan: Plan, console: Console) -> Outcome:
    """Measure, and write what was found. Ctrl-C keeps the blocks that are complete.

    Raises: `UserError` for bad input; `KeyboardInterrupt` if not even one repetition was complete.
    """
    started_at = datetime.now(UTC)
    config = plan.first.config
    folder = Path(config.results).expanduser() / "duels" / new_execution_id(started_at)
    make_folder(folder.parent)
    device = device_of(config.hardware)
    with borrowed_torch(config.hardware):
        console.print(f"preparing {_what(plan)}", markup=False)
        data, vectors = _prepared(plan)
        plan, asked = fitted(plan, data.train.words.lengths), plan
        if plan is not asked:
            shown = ", ".join(map(str, plan.duel.lengths))
            console.print(f"lengths {shown}: longer texts are too few for {max(plan.duel.batch_sizes)} a step")
        duel = Duel(plan, data, vectors, device)
        measured = _measure(duel, console)
        turns = turns_table(duel.turns)
        centre = plan.centre
        findings = Findings.of(turns, (centre.length, centre.batch_size, centre.width), device.type)
        record = make_record(duel, measured, findings, folder.name, started_at)
    _write(record, findings, turns, folder)
    if record.status is DuelStatus.FINISHED and set(plan.duel.kernels) == {"torch", "step"}:
        _keep_kernel_table(config.hardware, console)
    return Outcome(record, findings, folder)


def _what(plan: Plan) -> str:
    corpus, number = plan.first.corpus, len(plan.contestants(plan.centre))
    return f"{number} contestants, {len(plan.settings)} settings, texts of {corpus.name} ({corpus.origin})"


def _prepared(plan: Plan) -> tuple[PreparedData, torch.Tensor]:
    """The training part, and the word vectors that all contestants copy."""
    run = plan.first
    config = run.config
    data = prepare(run.corpus, config.data, config.seed)
    words, counts = data.vocabulary.words, data.vocabulary.counts
    table = build_table(config.embedding, words, counts, run.vectors, config.seed, training=Sentences(data.train))
    return data, torch.from_numpy(table.values)


def _measure(duel: Duel, console: Console) -> Measured:
    """All repetitions, or those blocks that were complete when someone pressed Ctrl-C."""
    duel.prepare()
    repetitions, settings = duel.plan.duel.repetitions, len(duel.plan.settings)
    console.print(
        f"measuring for about {minutes(repetitions * duel.seconds_a_repetition)}, for up to twice as long where others "
        f"disturb it: {repetitions} repetitions; Ctrl-C keeps what is complete by then", markup=False,
    )  # fmt: skip
    done, interrupted, contention, begun = 0, False, Contention(), time.monotonic()
    contention.start()
    with DuelProgress(console, repetitions * settings) as progress:
        try:
            for number in range(repetitions):
                duel.repetition(number, progress.block_done)
                done += 1
                progress.repetition_done(done, repetitions, _so_far(duel))
        except KeyboardInterrupt:
            if done == 0:
                raise
            interrupted = done < repetitions
    contention.stop()
    return Measured(done, interrupted, time.monotonic() - begun, contention.reading())


def _so_far(duel: Duel) -> str:
    """What the centre says, in a few words."""
    centre = duel.plan.centre
    found = ratios(turns_table([turn for turn in duel.turns if turn.setting == centre]))
    rows = main_rows(found, (centre.length, centre.batch_size, centre.width))
    said = [f"{float(row['ratio']):.2f} {row['execution']}" for _, row in rows.iterrows()]
    return f"{rows.iloc[0]['first']}/{rows.iloc[0]['second']} {', '.join(said)}" if said else ""


def _write(record: DuelRecord, findings: Findings, turns: pd.DataFrame, folder: Path) -> None:
    """Everything, the record last.

    Raises: `UserError` if the folder cannot be written to.
    """
    document = duel_document(findings, facts_of(record), warnings_of(record), record.operators)
    write_report(document, turns, folder, TURNS)
    text = record.to_json()
    write_atomically(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))


def _keep_kernel_table(hardware: HardwareConfig, console: Console) -> None:
    """See to it that `model.kernel=auto` knows which execution of each cell is the faster one on this machine."""
    from bench.runs.kernel_table import fresh_table
    from bench.runs.kernel_timing import ensure_table

    if hardware.precision == "32" and fresh_table(hardware) is None:
        console.print("measuring the table that model.kernel=auto reads: some 20 s, once per machine", markup=False)
        ensure_table(hardware)
