"""One fit, from resolved run to measured weights. What it has learned so far stays readable if it breaks off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data.batches import Texts
from bench.data.module import PreparedData, TextDataModule, prepare
from bench.distributed import gather, is_first_process
from bench.embeddings.table import EmbeddingTable, build_table, has_vector
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.models.quality import Predictions, SplitQuality
from bench.models.tasks import task_of
from bench.processor import keep_freed_memory
from bench.runs.callbacks import AccuracyReached, LearningCurve, Selection, Stopper, TimeLimit, copied_weights
from bench.runs.checkpoint import Checkpoints
from bench.runs.clock import Timing, TrainingClock
from bench.runs.contention import ContentionReading
from bench.runs.environment import describe_machine, describe_torch, hardware_key
from bench.runs.folders import CHECKPOINT
from bench.runs.gradient_flow import gradient_flow_fields
from bench.runs.gradient_norms import GradientNorms
from bench.runs.identity import ResolvedRun
from bench.runs.memory import PeakMemory, forget_peak, peak_memory
from bench.runs.probe import InferenceSpeed, KernelProbe, inference_speed
from bench.runs.progress import Pace
from bench.runs.sentences import Sentences
from bench.runs.trainer import make_trainer
from bench.seeds import generator


@dataclass(frozen=True)
class Evaluation:
    """Quality of the best weights on each split, and the predictions that are kept (test, else validation)."""

    train: SplitQuality
    validation: SplitQuality
    test: SplitQuality | None
    predictions: Predictions


class Fit:
    """Prepares, trains and evaluates one run.

    Until `run` is called, `trainer.loggers` and `curve.watchers` may be given who watches. After it has returned or
    raised, the attributes hold what was reached.
    """

    def __init__(self, resolved: ResolvedRun, folder: Path, stoppers: Sequence[Stopper] = ()) -> None:
        """Prepare. folder: of this execution, which receives its checkpoints."""
        forget_peak()
        config = resolved.config
        self.resolved = resolved
        self.threads = torch.get_num_threads()
        self.task = task_of(config.data)
        self.data: PreparedData = _prepared(resolved)
        self.table: EmbeddingTable | None = None
        self.build()
        self.clock = TrainingClock()
        self.probe = KernelProbe()
        self.selection = Selection(config.training.patience)
        self.curve = LearningCurve(config.training, self.clock)
        self.gradient_norms = GradientNorms(config.training.gradient_clip)
        self.checkpoints = Checkpoints(folder / CHECKPOINT, lambda: self.hardware_key)
        limit, enough = config.training.max_seconds, config.training.stop_at_accuracy
        self.stoppers = [
            *([TimeLimit(self.clock, limit)] if limit else []),
            *([AccuracyReached(enough)] if enough else []),
            *stoppers,
            self.selection,
        ]
        # The clock comes first, to mark a step's end before anyone looks at it, and goes on when all have looked.
        callbacks = [
            self.clock,
            self.probe,
            self.selection,
            self.curve,
            self.gradient_norms,
            *self.stoppers[:-1],
            self.checkpoints,
            self.clock.after_looking,
        ]
        self.trainer = make_trainer(config.hardware, config.training.epochs, callbacks)
        self.timing: Timing | None = None
        self.contention = ContentionReading()
        self.memory = PeakMemory()
        self.evaluation: Evaluation | None = None
        self.inference: InferenceSpeed | None = None
        self.last_weights: dict[str, Tensor] = {}
        self.flow: dict[str, object] = {}

    def build(self) -> None:
        """What is trained: word vectors and a network."""
        resolved, config, vocabulary = self.resolved, self.resolved.config, self.data.vocabulary
        self.table = build_table(
            config.embedding,
            vocabulary.words,
            vocabulary.counts,
            resolved.vectors,
            config.seed,
            training=Sentences(self.data.train),
        )
        self.network = TextClassifier(
            config.model,
            resolved.hidden_size,
            torch.from_numpy(self.table.values),
            trainable_vectors=config.embedding.frozen_epochs is not None,
            classes=self.data.classes,
            seed=config.seed,
            kernel=resolved.kernel,
            task=self.task,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the training part."""
        return math.ceil(len(self.data.train) / self.resolved.config.training.batch_size)

    @property
    def stop_reason(self) -> str:
        """Why training ended: all epochs, or who stopped it before."""
        return next((stopper.reason for stopper in self.stoppers if stopper.stopped), "epochs")

    @property
    def parameters(self) -> tuple[int, int]:
        """All parameters, and those that are trained."""
        counts = [(weight.numel(), weight.requires_grad) for weight in self.network.parameters()]
        return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)

    @property
    def size_in_words(self) -> str:
        """How large it is, as far as that is known before training."""
        return f"{self.parameters[0]:,} parameters"

    @property
    def pace(self) -> Pace:
        """How far training has come."""
        return Pace(self.resolved.config.training, self.steps_per_epoch, self.clock)

    def record_fields(self) -> dict[str, object]:
        """Fields of the record that only another kind of fit has, or lacks."""
        return {}

    @cached_property
    def hardware_key(self) -> str:
        """What speeds measured here compare with."""
        hardware = self.resolved.config.hardware
        seen = describe_torch(self.trainer.strategy.root_device.type, self.threads)
        return hardware_key(describe_machine(), seen, hardware.devices, hardware.precision, self.threads)

    def run(self, saved: Path | None = None) -> None:
        """Train, go back to the best epoch, and read the test split, once. saved: the checkpoint to go on from."""
        config = self.resolved.config
        keep_freed_memory()
        planned = self.steps_per_epoch * config.training.epochs
        frozen = config.embedding.frozen_epochs or 0
        module = Classifier(
            self.network, config.training, self.data.classes, planned, config.seed, frozen_epochs=frozen
        )
        batches = TextDataModule(self.data, config.training.batch_size, config.seed)
        initial = copied_weights(self.network) if config.training.gradient_flow else {}
        try:
            self.trainer.fit(module, datamodule=batches, ckpt_path=saved, weights_only=True)
        finally:  # this process's own view: after a failure, others may be gone
            self.timing, self.contention = self.clock.timing(), self.clock.contention.reading()
            self.memory = peak_memory(self.trainer.strategy.root_device)
        self.timing = self.clock.timing(over_processes=True)
        self.contention = self.clock.contention.reading(over_processes=True)
        self.memory = self.memory.over_processes()
        if config.keep_weights == "all":
            self.last_weights = copied_weights(self.network)
        self.network.load_state_dict(self.selection.weights)
        self.evaluation = self._evaluate(module, batches)
        self.inference = self._inference()
        self.flow = self._gradient_flow(initial)

    def _evaluate(self, module: Classifier, batches: TextDataModule) -> Evaluation:
        for part in self.evaluated_parts():
            self.trainer.test(module, dataloaders=batches.evaluation_loader(part), verbose=False)
        return evaluation_of(module.tested)

    def evaluated_parts(self) -> list[Texts]:
        """A sample of the training part, validation, and test where there is one."""
        train = self.data.train
        size = min(len(train), len(self.data.validation))
        rows = generator(self.resolved.config.seed, "sample").permutation(len(train))[:size]
        parts = [train.subset(np.sort(rows)), self.data.validation]
        return parts if self.data.test is None else [*parts, self.data.test]

    def _gradient_flow(self, initial: dict[str, Tensor]) -> dict[str, object]:
        """Fields of the record: of the first weights and the best ones; in the first process while the others wait."""
        fields: dict[str, object] = {}
        if initial and is_first_process():
            cell = self.resolved.config.model.cell
            fields = gradient_flow_fields(self.network, cell, initial, self.data.validation)
        return gather(fields)[0]

    def _inference(self) -> InferenceSpeed | None:
        """Of the best weights, in the first process while the others wait: they would take its processor."""
        speed, precision = None, self.trainer.precision_plugin.forward_context
        if is_first_process():
            device = self.trainer.strategy.root_device
            speed = inference_speed(self.network, self.data.validation, device, precision)
        return gather(speed)[0]


def evaluation_of(tested: Sequence[tuple[SplitQuality, Predictions]]) -> Evaluation:
    """What was found on `Fit.evaluated_parts`, in their order."""
    train, validation, *test = (quality for quality, _ in tested)
    return Evaluation(train, validation, test[0] if test else None, predictions=tested[-1][1])


def _prepared(resolved: ResolvedRun) -> PreparedData:
    """The corpus, with what the vector file has of it where `embedding.open_vocabulary` asks for that."""
    config, vectors = resolved.config, resolved.vectors
    if vectors is None or not config.embedding.open_vocabulary:
        return prepare(resolved.corpus, config.data, config.seed)
    known = partial(has_vector, config.embedding, vectors)
    return prepare(resolved.corpus, config.data, config.seed, known)
