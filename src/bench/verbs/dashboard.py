"""What `python -m bench report wandb=true` adds to a report: mirrors that are missing at W&B, and a workspace."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track

from bench.report.question import Question
from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.tracking.mirror import mirror, wandb_of, without_mirror
from bench.tracking.uploads import sync_command
from bench.tracking.workspace import FILE, build_workspace, publish


def show_at_wandb(
    question: Question, run_ids: Sequence[str], store: Store, *, folder: Path, typed: Sequence[str], console: Console
) -> None:
    """Mirror the runs that W&B lacks, build the workspace of a question, and say where it is.

    run_ids: the runs of the question that have records;  folder: of the report;  typed: the report's arguments.
    Raises: `UserError` if the folder cannot be written to.
    """
    missing = without_mirror(store, run_ids)
    _mirror_all(missing, store, console)
    if missing:
        console.print(f"mirrored to W&B: {len(missing)} of {len(run_ids)} runs, from their records")
    chosen = wandb_of(record for run_id in run_ids for record in store.executions(run_id))
    workspace = build_workspace(question.name, None if question.run_ids is None else run_ids, chosen)
    published = publish(workspace, folder / FILE, chosen)
    upload = sync_command(store.results, run_ids)
    if upload is not None:
        console.print(f"runs wait on this disk; upload them with: {upload}", markup=False)
    if published.url is None:
        console.print(
            f"workspace: {published.path}; publish it with: wandb login && WANDB_MODE=online {_command(typed)}",
            markup=False,
        )
    else:
        console.print(f"workspace: {published.url}", markup=False)


def _mirror_all(records: Sequence[RunRecord], store: Store, console: Console) -> None:
    """One after the other; once the server could not be reached, it is not asked again."""
    mode: Literal["auto", "offline"] = "auto"
    for record in track(records, "mirroring to W&B", console=console, transient=True, disable=not console.is_terminal):
        if mirror(record, store, replace(wandb_of([record]), mode=mode)):
            mode = "offline"


def _command(typed: Sequence[str]) -> str:
    """A report as it was typed."""
    return f"python -m bench report {shlex.join(typed)}"
