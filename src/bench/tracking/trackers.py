"""The trackers that are open while a run lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from bench.errors import UserError
from bench.runs.identity import ResolvedRun
from bench.runs.record import RunRecord, Status
from bench.tracking.description import describe_run
from bench.tracking.uploads import sync_one
from bench.tracking.wandb_run import begin, finish, log_row


class RunTrackers:
    """The trackers that `logger=` chose, open while one run lasts."""

    def __init__(self, resolved: ResolvedRun) -> None:
        chosen = resolved.config.logger
        self.loggers: Sequence[Logger] = []
        self.resolved = resolved
        self.wandb: CurveLogger | None = None
        results = Path(resolved.config.results).expanduser()
        if chosen.csv:
            self.loggers.append(CSVLogger(results / "csv", name=resolved.run_id))
        if chosen.tensorboard:
            self.loggers.append(_tensorboard(results, resolved.run_id))
        if chosen.wandb is not None:
            run = begin(describe_run(resolved), results, chosen.wandb)
            self.wandb = CurveLogger(experiment=run, save_dir=str(results))
            self.loggers.append(self.wandb)

    def finish(self, record: RunRecord) -> str | None:
        """Send the final numbers and close.

        Returns: a line for the person, how to upload what stayed on disk; none in a sweep, which says it once, at its
        end.
        """
        for logger in self.loggers:
            if logger is not self.wandb:
                logger.finalize("success" if record.status is Status.FINISHED else "failed")
        if self.wandb is None:
            return None
        run = self.wandb.experiment
        folder, offline = Path(run.dir).parent, run.offline
        finish(run, record, self.resolved.corpus.label_names)
        if not offline or self.resolved.config.sweep.member:
            return None
        return f"W&B is offline; upload with: {sync_one(folder)}"


class CurveLogger(WandbLogger):
    """Lightning's logger, with optimiser steps as W&B's own: rows that a resumed run sends again are not doubled."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row of the learning curve. step: optimiser steps taken."""
        log_row(self.experiment, metrics, self.experiment.step if step is None else step)


def _tensorboard(results: Path, name: str) -> TensorBoardLogger:
    try:
        import tensorboard  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise UserError("logger=tensorboard: TensorBoard is not installed; type: pip install tensorboard") from None
    return TensorBoardLogger(results / "tensorboard", name=name)
