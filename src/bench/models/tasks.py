"""What is asked of a model: a class for each text, a class for each token, or a number for each text.

A task says how wide the output layer is and what it reads, what the loss is, which labels are judged, and what is
measured; nothing else in training or evaluation knows which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor

from bench.config import DataConfig
from bench.data.batches import Batch
from bench.data.splits import IGNORED
from bench.models.quality import ClassMetrics, NumberMetrics, SplitMetrics


class Task(Protocol):
    """A task. per_token: whether the output layer reads the state of each token, and not one vector a text."""

    per_token: ClassVar[bool]

    def output_size(self, classes: int) -> int:
        """Outputs of the network for each label."""

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(batch,): the loss of each text, summed over its labels. outputs: float32;  labels: as in `Batch`."""

    def judged(self, batch: Batch) -> Tensor:
        """Bool in the shape of the labels: those that count."""

    def answers(self, outputs: Tensor) -> Tensor:
        """What the network says: probabilities in the shape of the outputs, or (batch,) numbers."""

    def correct(self, answers: Tensor, labels: Tensor) -> Tensor:
        """(labels,) bool. answers, labels: those that are judged."""

    def metrics(self, classes: int) -> SplitMetrics:
        """What is measured on a split."""


@dataclass(frozen=True)
class Classification:
    """A class for each text. outputs: (batch, classes) logits."""

    per_token: ClassVar[bool] = False

    def output_size(self, classes: int) -> int:
        """One logit a class."""
        return classes

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats."""
        return F.cross_entropy(outputs, labels, reduction="none")

    def judged(self, batch: Batch) -> Tensor:
        """Every text but those that only fill a share."""
        return batch.weights > 0

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities."""
        return outputs.softmax(dim=-1)

    def correct(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Whether the most probable class is the true one."""
        return answers.argmax(dim=-1) == labels

    def metrics(self, classes: int) -> SplitMetrics:
        """Accuracy, macro F1, log loss, calibration, confusion."""
        return ClassMetrics(classes)


@dataclass(frozen=True)
class Tagging(Classification):
    """A class for each token. outputs: (batch, time, classes) logits."""

    per_token: ClassVar[bool] = True

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats, summed over the tokens that are judged. labels: (batch, time)."""
        steps = outputs.transpose(0, 1)  # as recurrences leave them in memory
        losses = F.cross_entropy(steps.flatten(0, 1), labels.T.flatten(), ignore_index=IGNORED, reduction="none")
        return losses.view(steps.shape[:2]).sum(dim=0)

    def judged(self, batch: Batch) -> Tensor:
        """Every token that has a label, padding none."""
        return (batch.labels != IGNORED) & (batch.weights > 0)[:, None]


@dataclass(frozen=True)
class Regression:
    """A number for each text. outputs: (batch, 1);  tolerance: the error below which an answer is correct."""

    tolerance: float
    per_token: ClassVar[bool] = False

    def output_size(self, classes: int) -> int:
        """The number."""
        return 1

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The squared error."""
        return (outputs.squeeze(1) - labels).square()

    def judged(self, batch: Batch) -> Tensor:
        """Every text but those that only fill a share."""
        return batch.weights > 0

    def answers(self, outputs: Tensor) -> Tensor:
        """The number."""
        return outputs.squeeze(1)

    def correct(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Whether the error is below the tolerance."""
        return (answers - labels).abs() < self.tolerance

    def metrics(self, classes: int) -> SplitMetrics:
        """Mean squared error, and the share that is solved."""
        return NumberMetrics(self.tolerance)


CLASSIFICATION = Classification()


def task_of(data: DataConfig) -> Task:
    """The task of a configuration."""
    if data.task == "tagging":
        return Tagging()
    if data.task == "regression":
        assert data.tolerance is not None  # build_config saw to it
        return Regression(data.tolerance)
    return CLASSIFICATION
