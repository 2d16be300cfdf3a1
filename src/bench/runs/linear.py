"""The fit of a linear model: by a solver, once for every strength of regularisation, chosen on validation.

What stands around it is that of any other fit: texts, splits, quality, files, record. What belongs to training in steps
(epochs, time of a step, tokens a second) is absent from its record.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.data.batches import Texts
from bench.models.ngrams import NgramClassifier, batches_of, without_weights
from bench.models.quality import Predictions, SplitQuality
from bench.models.regression import feature_matrix, solutions, take_over
from bench.runs.callbacks import CurveRow
from bench.runs.clock import Timing
from bench.runs.memory import peak_memory
from bench.runs.probe import inference_speed
from bench.runs.progress import Pace
from bench.runs.training import Fit, evaluation_of

# Fields of a record that mean nothing here; those of word vectors and of the clock of steps are absent already.
_ABSENT = ("best_epoch", "epochs_run", "steps", "warmup_steps", "hidden_size_resolved", "embedding_dimension",
           "epochs_to_target")  # fmt: skip


class LinearFit(Fit):
    """Prepares, trains and evaluates one run of `model=linear`."""

    linear: NgramClassifier | None = None  # once n-grams are counted
    chosen: float | None = None  # the strength that does best on validation

    def build(self) -> None:
        """There is no network before n-grams are counted."""
        self.strengths = sorted(set(self.resolved.config.model.inverse_regularisation))
        self.readings = [0.0]  # of the clock: seconds of training when so many strengths had been tried
        self.table = None

    @property
    def parameters(self) -> tuple[int, int]:
        """Weights of n-grams and biases."""
        count = 0 if self.linear is None else self.linear.weight.numel() + self.linear.bias.numel()
        return count, count

    @property
    def size_in_words(self) -> str:
        """What is known before n-grams are counted."""
        return f"n-grams of up to {self.resolved.config.model.ngrams} tokens"

    @property
    def pace(self) -> Pace:
        """Every strength is a step."""
        planned = replace(self.resolved.config.training, epochs=len(self.strengths), patience=None)
        return Pace(planned, 1, self.clock, unit="strength")

    @property
    def stop_reason(self) -> str:
        """It always tries them all."""
        return "solved"

    def record_fields(self) -> dict[str, object]:
        """The strength that was chosen, and what such a record lacks."""
        lacks = dict.fromkeys(_ABSENT if self.linear else (*_ABSENT, "parameters_total", "parameters_trainable"))
        return {**lacks, "inverse_regularisation": self.chosen}

    def run(self, saved: Path | None = None) -> None:
        """Train, go back to the best strength, and read the test split, once. saved: None; it takes seconds."""
        try:
            self._train()
        finally:
            self.clock.contention.stop()
            self.timing, self.contention = self._timing(), self.clock.contention.reading()
            self.memory = peak_memory(torch.device("cpu"))
        assert self.linear is not None
        self.linear.load_state_dict(self.selection.weights)
        self.evaluation = evaluation_of([self._evaluate_on(part) for part in self.evaluated_parts()])
        self.inference = inference_speed(self.linear, self.data.validation, torch.device("cpu"))

    def _train(self) -> None:
        """The clock stands still while validation is read."""
        model, train = self.resolved.config.model, self.data.train
        self._go_on()
        rows = len(self.data.vocabulary)
        network = without_weights(train, model.ngrams, model.minimum_texts, rows, self.data.classes)
        self.linear = network
        found = solutions(feature_matrix(network, train), train.labels, self.data.classes, self.strengths)
        for number, solution in enumerate(found, 1):
            take_over(network, solution)
            self._pause()
            self.readings.append(self.clock.seconds)
            quality, _ = self._evaluate_on(self.data.validation)
            if self.selection.consider(quality, number, network):
                self.chosen = self.strengths[number - 1]
            self.curve.add(self.trainer, _row(number, quality))
            self._go_on()

    def _go_on(self) -> None:
        self.clock.contention.start()
        self._begun = time.perf_counter()

    def _pause(self) -> None:
        self.clock.seconds += time.perf_counter() - self._begun
        self.clock.contention.stop()

    def _timing(self) -> Timing | None:
        """Seconds alone; the rest of a clock's reading is of steps."""
        if len(self.readings) == 1:
            return None
        none = math.nan
        return Timing(len(self.strengths), 0, self.readings[-1], none, none, none, none, none, none,
                      np.array(self.readings))  # fmt: skip

    def _evaluate_on(self, texts: Texts) -> tuple[SplitQuality, Predictions]:
        """Quality and predictions on some texts."""
        assert self.linear is not None
        metrics, parts = self.task.metrics(self.data.classes), []
        for batch in batches_of(texts):
            logits = self.linear(batch.tokens, batch.lengths)
            metrics.update(logits, batch.labels)
            answers = self.task.answers(logits)
            correct = self.task.correct(answers, batch.labels)
            parts.append((batch.rows, torch.zeros_like(batch.rows), batch.labels, answers, correct))
        return metrics.compute(), Predictions.joined(parts)


def _row(number: int, quality: SplitQuality) -> CurveRow:
    """A strength, by its number, as a row of the learning curve."""
    return CurveRow(
        step=number, epoch=number, split="validation",
        loss=quality.loss, accuracy=quality.accuracy, macro_f1=quality.macro_f1,
    )  # fmt: skip
