"""Mirrors of a run for people: W&B, CSV, TensorBoard. The only importer of wandb.

The record is the truth and these are its mirrors, so nothing here may break a run, and nothing private to a machine
(keys, environment, home folder, host and user name) is sent.
"""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlparse

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from bench.config import WandbConfig
from bench.errors import UserError
from bench.files import make_folder
from bench.runs.assemble import public_config
from bench.runs.identity import ResolvedRun
from bench.runs.record import RunRecord, Status

if TYPE_CHECKING:
    from wandb import Settings
    from wandb.sdk.wandb_run import Run

Mode = Literal["online", "offline"]

_log = logging.getLogger(__name__)
_NOT_SUMMARY = {
    "packages", "test_confusion", "test_correct", "test_by_length", "validation_curve", "kernel_operators", "config",
}  # fmt: skip


class RunTrackers:
    """The trackers that `logger=` chose, open while one run lasts."""

    def __init__(self, resolved: ResolvedRun, results: Path) -> None:
        chosen = resolved.config.logger
        self.loggers: Sequence[Logger] = []
        self.resolved = resolved
        self.results = results
        self.wandb: WandbLogger | None = None
        if chosen.csv:
            self.loggers.append(CSVLogger(results / "csv", name=resolved.run_id))
        if chosen.tensorboard:
            self.loggers.append(_tensorboard(results, resolved.run_id))
        if chosen.wandb is not None:
            self.wandb = open_wandb(resolved, results, chosen.wandb)
            self.loggers.append(self.wandb)

    def finish(self, record: RunRecord) -> str | None:
        """Send the final numbers and close. Returns a line for the person: how to upload what stayed on disk."""
        for logger in self.loggers:
            if logger is not self.wandb:
                logger.finalize("success" if record.status is Status.FINISHED else "failed")
        if self.wandb is None:
            return None
        run: Run = self.wandb.experiment
        folder, offline = Path(run.dir).parent.name, run.offline
        _finish_wandb(run, record, self.resolved.corpus.label_names)
        return f"W&B is offline; upload with: wandb sync {self.results / 'wandb' / folder}" if offline else None


def open_trackers(resolved: ResolvedRun) -> RunTrackers:
    """Open what `logger=` chose.

    Raises: `UserError` if TensorBoard is chosen and not installed.
    """
    return RunTrackers(resolved, Path(resolved.config.results).expanduser())


def open_wandb(resolved: ResolvedRun, results: Path, chosen: WandbConfig) -> WandbLogger:
    """A W&B run: id = run id, group = arm, job type = sweep.

    Under an agent, which forces an id of its own, `bench_run_id` in the configuration tells which run this is.
    """
    import wandb

    make_folder(results / "wandb")
    config = resolved.config
    public = public_config(config)
    logged = {key: value for key, value in public.items() if not key.startswith("logger.") and key != "results"}
    begin = partial(
        wandb.init,
        project=chosen.project,
        entity=chosen.entity,
        dir=str(results),
        id=None if "WANDB_SWEEP_ID" in os.environ else resolved.run_id,
        name=f"{config.model.cell} {config.data.name} {config.embedding.name} seed {config.seed}",
        group=resolved.arm,
        job_type=config.sweep.name or "run",
        tags=[config.model.cell, config.data.name, config.embedding.name],
        config={
            **logged,
            "seed": config.seed,
            "bench_run_id": resolved.run_id,
            "pair_key": resolved.pair_key,
            "hidden_size_resolved": resolved.hidden_size,
        },
        resume="allow",
        settings=_private_settings(),
    )
    try:
        run = begin(mode=wandb_mode(chosen))
    except wandb.Error as error:  # logged in, and no way to the server: a tracker does not stop a run
        _log.warning("W&B cannot be reached (%s); this run stays offline", " ".join(str(error).split()))
        run = begin(mode="offline")
    return WandbLogger(experiment=run, save_dir=str(results))


def _private_settings() -> Settings:
    """No host or user name, no path, no package list, no source, no terminal output."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=30,
    )


def wandb_mode(chosen: WandbConfig) -> Mode:
    """`offline` unless the person is logged in, or says otherwise by the key or by `WANDB_MODE`."""
    named = os.environ.get("WANDB_MODE")
    if chosen.mode != "auto":
        return chosen.mode
    if named in ("online", "offline"):
        return cast(Mode, named)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _finish_wandb(run: Run, record: RunRecord, label_names: Sequence[str]) -> None:
    """Summary, sizes, confusion matrix; then close."""
    import wandb

    for item in fields(record):
        value = getattr(record, item.name)
        if item.name not in _NOT_SUMMARY and value is not None:
            run.summary[item.name] = value
    if record.test_confusion is not None:
        named = [dict(zip(label_names, counts, strict=True)) for counts in record.test_confusion]
        run.summary["test_confusion"] = dict(zip(label_names, named, strict=True))
        run.log({"test_confusion": wandb.Html(confusion_html(record.test_confusion, label_names), inject=False)})
    run.finish(exit_code=0 if record.status is Status.FINISHED else 1)


def confusion_html(confusion: Sequence[Sequence[int]], label_names: Sequence[str]) -> str:
    """A confusion matrix as a table, shaded by each true class's share. rows: true classes;  columns: predicted.

    Not a `wandb.Table`: those are staged in the user's home folder, and its path would be sent along.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in label_names)
    rows = [f"<tr><th>true, predicted</th>{head}</tr>"]
    for name, counts in zip(label_names, confusion, strict=True):
        cells = [
            f'<td style="text-align:right;background:rgba(31,119,180,{count / max(sum(counts), 1):.2f})">{count}</td>'
            for count in counts
        ]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<table style="font-family:sans-serif;border-spacing:2px">{"".join(rows)}</table>'


def _tensorboard(results: Path, name: str) -> TensorBoardLogger:
    try:
        import tensorboard  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise UserError("logger=tensorboard: TensorBoard is not installed; type: pip install tensorboard") from None
    return TensorBoardLogger(results / "tensorboard", name=name)
