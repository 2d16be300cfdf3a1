"""Mirrors of a run for people: W&B, CSV, TensorBoard. The only importer of wandb.

The record is the truth and these are its mirrors, so nothing here may break a run, and nothing private to a machine
(keys, environment, home folder, host and user name) is sent.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlparse

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from bench.config import Scalar, WandbConfig, flatten
from bench.errors import UserError
from bench.files import make_folder, without_home
from bench.runs.identity import ResolvedRun
from bench.runs.record import RunRecord, Status

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

Mode = Literal["online", "offline"]

_NOT_SUMMARY = {"packages", "test_confusion", "kernel_operators", "config"}


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

    def finish(self, record: RunRecord) -> None:
        """Send the final numbers and close."""
        for logger in self.loggers:
            if logger is not self.wandb:
                logger.finalize("success" if record.status is Status.FINISHED else "failed")
        if self.wandb is not None:
            _finish_wandb(self.wandb.experiment, record, self.resolved.corpus.label_names)

    @property
    def sync_command(self) -> str | None:
        """What uploads this run, if W&B kept it on disk."""
        if self.wandb is None or not self.wandb.experiment.settings._offline:
            return None
        return f"wandb sync {self._offline_folder()}"

    def _offline_folder(self) -> Path:
        assert self.wandb is not None
        return Path(self.wandb.experiment.dir).parent


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
    mode = wandb_mode(chosen)
    settings = wandb.Settings(
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
    logged: dict[str, Scalar] = {
        key: without_home(value) if isinstance(value, str) else value
        for key, value in flatten(config)
        if not key.startswith("logger.") and key != "results"
    }
    return WandbLogger(
        project=chosen.project,
        entity=chosen.entity,
        save_dir=str(results),
        id=None if "WANDB_SWEEP_ID" in os.environ else resolved.run_id,
        name=f"{config.model.cell} {config.data.name} {config.embedding.name} seed {config.seed}",
        group=resolved.arm,
        job_type=config.sweep.name or "run",
        tags=[config.model.cell, config.data.name, config.embedding.name],
        config={
            **logged,
            "bench_run_id": resolved.run_id,
            "pair_key": resolved.pair_key,
            "hidden_size_resolved": resolved.hidden_size,
        },
        resume="allow",
        offline=mode == "offline",
        settings=settings,
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
        run.log({"test_confusion": wandb.Table(columns=["true", "predicted", "texts"], data=[
            [label_names[row], label_names[column], count]
            for row, counts in enumerate(record.test_confusion) for column, count in enumerate(counts)
        ])})  # fmt: skip
    run.finish(exit_code=0 if record.status is Status.FINISHED else 1)


def _tensorboard(results: Path, name: str) -> TensorBoardLogger:
    try:
        import tensorboard  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise UserError("logger=tensorboard: TensorBoard is not installed; type: pip install tensorboard") from None
    return TensorBoardLogger(results / "tensorboard", name=name)
