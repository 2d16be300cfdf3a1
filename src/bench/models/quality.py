"""What is measured on a split, and what is kept of its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)


@dataclass(frozen=True)
class SplitQuality:
    """Quality on one split, over all its labels: of texts, or of tokens.

    accuracy: fraction of 1, labels that are answered correctly; of numbers, those with an error below the tolerance.
    Of classes alone: macro_f1, calibration_error (fractions of 1), log_loss (nats per label), confusion (rows are true
    classes). Of numbers alone: mean_squared_error, and solved_fraction, which is their accuracy under its own name.
    """

    accuracy: float
    macro_f1: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    confusion: list[list[int]] | None = None
    mean_squared_error: float | None = None
    solved_fraction: float | None = None

    @property
    def loss(self) -> float:
        """What training lowers, in its own unit: the log loss, or the mean squared error."""
        loss = self.mean_squared_error if self.log_loss is None else self.log_loss
        assert loss is not None
        return loss


class SplitMetrics(nn.Module):
    """torchmetrics over one pass of a split, exact over any number of processes."""

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Add what a batch has of labels that are judged. outputs: (labels, outputs of the network), float32."""
        raise NotImplementedError

    def compute(self) -> SplitQuality:
        """The result over all processes; starts afresh afterwards."""
        quality = self._quality()
        for metric in self.children():
            metric.reset()  # type: ignore[operator]
        return quality

    def _quality(self) -> SplitQuality:
        raise NotImplementedError


class ClassMetrics(SplitMetrics):
    """Where labels are classes and outputs logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.macro_f1 = MulticlassF1Score(classes, average="macro")
        self.calibration_error = MulticlassCalibrationError(classes, n_bins=15)
        self.confusion = MulticlassConfusionMatrix(classes)
        self.log_loss = MeanMetric()

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """outputs: (labels, classes) logits;  labels: (labels,) int64."""
        if len(labels) == 0:
            return
        probabilities = outputs.softmax(dim=1)
        for metric in (self.accuracy, self.macro_f1, self.calibration_error, self.confusion):
            metric.update(probabilities, labels)
        self.log_loss.update(F.cross_entropy(outputs, labels, reduction="none"))

    def _quality(self) -> SplitQuality:
        return SplitQuality(
            accuracy=float(self.accuracy.compute()),
            macro_f1=float(self.macro_f1.compute()),
            log_loss=float(self.log_loss.compute()),
            calibration_error=float(self.calibration_error.compute()),
            confusion=[[int(count) for count in row] for row in self.confusion.compute().tolist()],
        )


class NumberMetrics(SplitMetrics):
    """Where labels are numbers. tolerance: the error below which an answer is correct."""

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.solved = MeanMetric()
        self.squared_error = MeanMetric()

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """outputs: (labels, 1);  labels: (labels,) float32."""
        if len(labels) == 0:
            return
        errors = outputs.squeeze(1) - labels
        self.squared_error.update(errors.square())
        self.solved.update((errors.abs() < self.tolerance).float())

    def _quality(self) -> SplitQuality:
        solved = float(self.solved.compute())
        return SplitQuality(
            accuracy=solved, solved_fraction=solved, mean_squared_error=float(self.squared_error.compute())
        )


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, sorted by row and position.

    rows: (labels,) of the texts;  positions: (labels,) of the token within its text, 0 where a text has one label;
    labels: (labels,);  answers: (labels, classes) probabilities, or (labels,) numbers;  correct: (labels,) bool.
    """

    rows: Tensor
    positions: Tensor
    labels: Tensor
    answers: Tensor
    correct: Tensor

    @classmethod
    def joined(cls, parts: Iterable[Sequence[Tensor]]) -> Predictions:
        """Those of batches or processes, each with all fields in their order, as one; tokens of a text follow each
        other in a part already."""
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        order = columns[0].argsort(stable=True)
        return cls(*(column[order] for column in columns))
