"""What watches a fit: the choice of the best epoch, the learning curve, the limit on time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from bench.config import TrainingConfig
from bench.data.batches import Batch
from bench.models.classifier import Classifier
from bench.models.quality import SplitQuality
from bench.runs.clock import Outputs, TrainingClock


class Stopper(Callback):
    """May end training before its last epoch. reason: what the record then says (`stop_reason`)."""

    reason: str
    stopped = False


class Selection(Stopper):
    """Keeps the weights of the best validation epoch in memory, and stops when no better one comes.

    Better is a higher accuracy, or the same accuracy at a lower loss: with a few hundred validation texts, ties are
    common.
    """

    reason = "patience"

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best: SplitQuality | None = None
        self.best_epoch: int | None = None
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Compare the epoch with the best one so far."""
        assert isinstance(module, Classifier)
        quality, epoch = module.validation, trainer.current_epoch + 1
        assert quality is not None
        if self.consider(quality, epoch, module.network):
            return
        if self.patience is not None and self.best_epoch is not None and epoch - self.best_epoch >= self.patience:
            self.stopped = trainer.should_stop = True

    def consider(self, quality: SplitQuality, epoch: int, network: nn.Module) -> bool:
        """Keep the network's weights if they are the best so far; whether they are."""
        best = self.best
        if best is not None and (quality.accuracy, -quality.loss) <= (best.accuracy, -best.loss):
            return False
        self.best, self.best_epoch, self.weights = quality, epoch, copied_weights(network)
        return True

    def state_dict(self) -> dict[str, Any]:
        """The choice so far, as a checkpoint holds it; it is never made after the epoch that stops."""
        best = None if self.best is None else asdict(self.best)
        return {"best": best, "best_epoch": self.best_epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        best = state_dict["best"]
        self.best = None if best is None else SplitQuality(**best)
        self.best_epoch, self.weights = state_dict["best_epoch"], state_dict["weights"]


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now, in the host's memory, untouched by further steps."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class TimeLimit(Stopper):
    """Ends training once the clock has counted so many seconds of it."""

    reason = "max_seconds"

    def __init__(self, clock: TrainingClock, max_seconds: float) -> None:
        self.clock = clock
        self.max_seconds = max_seconds

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """All processes stop at the same step: as soon as one of them is over time."""
        over = self.clock.seconds >= self.max_seconds
        if trainer.world_size > 1:
            over = trainer.strategy.reduce_boolean_decision(over, all=False)
        if over:
            self.stopped = trainer.should_stop = True


class AccuracyReached(Stopper):
    """Ends training after the epoch whose validation accuracy is at least so high, a fraction of 1."""

    reason = "accuracy"

    def __init__(self, accuracy: float) -> None:
        self.accuracy = accuracy

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """The accuracy is that of all processes, so that all of them stop."""
        assert isinstance(module, Classifier)
        assert module.validation is not None
        if module.validation.accuracy >= self.accuracy:
            self.stopped = trainer.should_stop = True


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """One row of the learning curve.

    step: optimiser steps taken;  epoch: counted from 1;  split: train (mean over the steps since the last row) or
    validation (whole split).
    """

    step: int
    epoch: int
    split: str
    loss: float
    accuracy: float | None = None
    macro_f1: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None


@dataclass
class LearningCurve(Callback):
    """Collects the learning curve, and hands each row to the trackers and to whoever shows progress.

    watchers: are called with each new row;  rows: those of an execution that this one went on from come first.
    """

    recipe: TrainingConfig
    clock: TrainingClock
    watchers: list[Callable[[CurveRow], None]] = field(default_factory=list)
    rows: list[CurveRow] = field(default_factory=list)
    _losses: list[Tensor] = field(default_factory=list)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Trackers receive what was taken over, so that their curves are whole."""
        self._losses = [loss.to(module.device) for loss in self._losses]
        for row in self.rows:
            _log(trainer, row, {})

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """A row every `log_every_steps` steps."""
        assert isinstance(module, Classifier)
        assert isinstance(outputs, Mapping)
        self._losses.append(outputs["loss"].detach())
        if trainer.global_step % self.recipe.log_every_steps:
            return
        row = CurveRow(
            step=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            split="train",
            loss=float(torch.stack(self._losses).mean()),
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            gradient_norm=None if module.gradient_norm is None else float(module.gradient_norm),
        )
        self._losses.clear()
        self.add(trainer, row)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """A row for every evaluation."""
        assert isinstance(module, Classifier)
        quality = module.validation
        assert quality is not None
        self.add(
            trainer,
            CurveRow(
                step=trainer.global_step,
                epoch=trainer.current_epoch + 1,
                split="validation",
                loss=quality.loss,
                accuracy=quality.accuracy,
                macro_f1=quality.macro_f1,
            ),
        )

    def add(self, trainer: Trainer, row: CurveRow) -> None:
        """Take in a row, and show it to whoever watches."""
        self.rows.append(row)
        for watch in self.watchers:
            watch(row)
        rate = self.clock.tokens_per_second()
        _log(trainer, row, {"tokens_per_second": rate} if rate else {})

    def state_dict(self) -> dict[str, Any]:
        """The rows, and the losses of the row that is not full yet."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.zeros(0)
        return {"rows": [asdict(row) for row in self.rows], "losses": losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows = [CurveRow(**row) for row in state_dict["rows"]]
        self._losses = list(state_dict["losses"])


def _log(trainer: Trainer, row: CurveRow, more: dict[str, float]) -> None:
    """Hand a row to the trackers. more: further metrics."""
    named = {"loss": row.loss, "accuracy": row.accuracy, "macro_f1": row.macro_f1,
             "gradient_norm": row.gradient_norm, "learning_rate": row.learning_rate}  # fmt: skip
    metrics = {f"{row.split}/{name}": value for name, value in named.items() if value is not None}
    metrics |= {"epoch": row.epoch, **more}
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=row.step)
