"""The Lightning module: loss, optimiser, and what is measured on a split."""

from __future__ import annotations

import math

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bench.config import TrainingConfig
from bench.data.batches import Batch
from bench.distributed import gather
from bench.errors import DivergedError
from bench.models.encoder import RecurrentEncoder, TextClassifier
from bench.models.lookup import clip_gradients
from bench.models.quality import Predictions, SplitQuality
from bench.seeds import integer


class Classifier(LightningModule):
    """Trains a `TextClassifier`; validation and test batches feed the metrics of its task.

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
        self.task = network.task
        self.metrics = self.task.metrics(classes)
        self.validation: SplitQuality | None = None
        self.tested: list[tuple[SplitQuality, Predictions]] = []
        self.gradient_norm: Tensor | None = None
        self._collected: list[tuple[Tensor, ...]] = []

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
        """The mean loss over the labels of the whole batch: shares of several processes average to it."""
        losses = self.task.losses(self.network(batch.tokens, batch.lengths).float(), batch.labels)
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
        judged = self.task.judged(batch)
        self.metrics.update(self.network(batch.tokens, batch.lengths)[judged].float(), batch.labels[judged])

    def on_validation_epoch_end(self) -> None:
        """Publish the validation's quality."""
        self.validation = self.metrics.compute()

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add one batch to the metrics and predictions of the split."""
        judged = self.task.judged(batch)
        outputs, labels = self.network(batch.tokens, batch.lengths)[judged].float(), batch.labels[judged]
        self.metrics.update(outputs, labels)
        answers, places = self.task.answers(outputs), judged.nonzero()
        positions = places[:, 1] if self.task.per_token else torch.zeros_like(places[:, 0])
        correct = self.task.correct(answers, labels)
        self._collected.append((batch.rows[places[:, 0]], positions, labels, answers, correct))

    def on_test_epoch_end(self) -> None:
        """Bring the predictions of all processes together, in the split's order."""
        own = [torch.cat(column).cpu() for column in zip(*self._collected, strict=True)]
        self._collected = []
        self.tested.append((self.metrics.compute(), Predictions.joined(gather(own))))

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
