"""The Lightning module: loss, optimiser, and what is measured on a split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from bench.config import TrainingConfig
from bench.data.batches import Batch
from bench.distributed import gather
from bench.errors import DivergedError
from bench.models.encoder import RecurrentEncoder, TextClassifier
from bench.models.lookup import clip_gradients
from bench.seeds import integer


@dataclass(frozen=True)
class SplitQuality:
    """Quality on one split. Fractions of 1; log_loss in nats per text; confusion rows are true classes."""

    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    confusion: list[list[int]]


class QualityMetrics(nn.Module):
    """torchmetrics over one pass of a split, exact over any number of processes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.macro_f1 = MulticlassF1Score(classes, average="macro")
        self.calibration_error = MulticlassCalibrationError(classes, n_bins=15)
        self.confusion = MulticlassConfusionMatrix(classes)
        self.log_loss = MeanMetric()

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add one batch. logits: (batch, classes); texts of weight 0 do not count."""
        counted = batch.weights > 0
        logits, labels = logits[counted].float(), batch.labels[counted]
        if len(labels) == 0:
            return
        probabilities = logits.softmax(dim=1)
        for metric in (self.accuracy, self.macro_f1, self.calibration_error, self.confusion):
            metric.update(probabilities, labels)
        self.log_loss.update(F.cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> SplitQuality:
        """The result over all processes; starts afresh afterwards."""
        quality = SplitQuality(
            accuracy=float(self.accuracy.compute()),
            macro_f1=float(self.macro_f1.compute()),
            log_loss=float(self.log_loss.compute()),
            calibration_error=float(self.calibration_error.compute()),
            confusion=[[int(count) for count in row] for row in self.confusion.compute().tolist()],
        )
        for metric in self.children():
            metric.reset()  # type: ignore[operator]
        return quality


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, sorted by row. rows, labels: (texts,);  probabilities: (texts, classes)."""

    rows: Tensor
    labels: Tensor
    probabilities: Tensor


class Classifier(LightningModule):
    """Trains a `TextClassifier`; validation and test batches feed `QualityMetrics`.

    After `trainer.validate`/`fit`, `validation` holds the last validation's quality; after `trainer.test`, `tested`
    holds quality and predictions of each dataloader in turn.
    """

    def __init__(
        self,
        network: TextClassifier,
        training: TrainingConfig,
        classes: int,
        planned_steps: int,
        seed: int,
        *,
        frozen_epochs: int = 0,
    ) -> None:
        """frozen_epochs: in which word vectors stay as they are, although they are trainable."""
        super().__init__()
        self.network = network
        if isinstance(network.encoder, RecurrentEncoder):
            network.encoder.truncate(training.tbptt)
        self.training_config = training
        self.planned_steps = planned_steps
        self.seed = seed
        self.frozen_epochs = frozen_epochs
        self.metrics = QualityMetrics(classes)
        self.validation: SplitQuality | None = None
        self.tested: list[tuple[SplitQuality, Predictions]] = []
        self.gradient_norm: Tensor | None = None
        self._collected: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """Dropout draws from (seed, epoch, rank), whatever ran before; the epoch decides whether vectors learn.

        Processes that train together expect a gradient for every weight, so they drop this one when it has come.
        """
        self.network.detaches_vectors = self._vectors_are_frozen and self.trainer.world_size == 1
        torch.manual_seed(integer(self.seed, "dropout", self.current_epoch, self.global_rank))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss, which has to be a number."""
        loss = self.training_loss(batch)
        looked_at = self.device.type == "cpu" or batch_index % self.training_config.log_every_steps == 0
        if looked_at and not self._is_finite(loss):  # on a GPU, looking makes the host wait
            raise DivergedError(f"the training loss became {loss.item()} at step {self.global_step + 1}")
        return loss

    def training_loss(self, batch: Batch) -> Tensor:
        """The mean cross-entropy over the whole batch, in nats: shares of several processes average to it."""
        losses = F.cross_entropy(self.network(batch.tokens, batch.lengths).float(), batch.labels, reduction="none")
        return (losses * batch.weights).sum()

    def _is_finite(self, loss: Tensor) -> bool:
        """Whether the loss is a number, for all processes: they diverge together, or one would wait for the other."""
        finite = bool(torch.isfinite(loss))
        return self.trainer.strategy.reduce_boolean_decision(finite) if self.trainer.world_size > 1 else finite

    @property
    def _vectors_are_frozen(self) -> bool:
        return self.current_epoch < self.frozen_epochs

    def on_after_backward(self) -> None:
        """Without a gradient, the optimiser leaves frozen vectors alone and keeps no moments of them."""
        if self._vectors_are_frozen:
            self.network.embedding.weight.grad = None

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of the whole gradient and remember that norm; after it, every gradient is dense."""
        found = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        gradients = [gradient._values() if gradient.is_sparse else gradient for gradient in found]
        self.gradient_norm = clip_gradients(gradients, self.training_config.gradient_clip)
        self.network.embedding.spread_gradient()

    def on_validation_epoch_start(self) -> None:
        """A validation sees finite weights, or the run has diverged."""
        if not all(bool(torch.isfinite(weight).all()) for weight in self.network.parameters()):
            raise DivergedError(f"a weight is no longer finite after step {self.global_step}")

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add one batch to the validation metrics."""
        self.metrics.update(self.network(batch.tokens, batch.lengths), batch)

    def on_validation_epoch_end(self) -> None:
        """Publish the validation's quality."""
        self.validation = self.metrics.compute()

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add one batch to the metrics and predictions of the split."""
        logits = self.network(batch.tokens, batch.lengths)
        self.metrics.update(logits, batch)
        counted = batch.weights > 0
        probabilities = logits.float().softmax(dim=1)
        self._collected.append((batch.rows[counted], batch.labels[counted], probabilities[counted]))

    def on_test_epoch_end(self) -> None:
        """Bring the predictions of all processes together, in the split's order."""
        parts = [torch.cat(column).cpu() for column in zip(*self._collected, strict=True)]
        self._collected = []
        parts = [torch.cat(column) for column in zip(*gather(parts), strict=True)]
        order = parts[0].argsort()
        self.tested.append((self.metrics.compute(), Predictions(*(part[order] for part in parts))))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and, where the recipe has one, its learning-rate schedule by step."""
        self.network.embedding.gradient_by_rows = self._trainer is None or self._trainer.world_size == 1
        recipe = self.training_config
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        optimizer: Optimizer
        if recipe.optimizer == "sgd":
            optimizer = SGD(weights, recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay, fused=True)
        else:
            kind = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
            optimizer = kind(weights, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        if recipe.schedule == "constant" and recipe.warmup_fraction == 0:
            return optimizer
        scheduler = LambdaLR(optimizer, lambda step: rate_factor(step, self.planned_steps, recipe))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate_factor(step: int, planned_steps: int, recipe: TrainingConfig) -> float:
    """The share of the peak learning rate at a step (counted from 0): warm-up, then the schedule down to zero."""
    warmup = round(recipe.warmup_fraction * planned_steps)
    if step < warmup:
        return (step + 1) / warmup
    if recipe.schedule == "constant":
        return 1.0
    progress = min((step - warmup) / max(planned_steps - warmup, 1), 1.0)
    return 1 - progress if recipe.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
