"""The clock is honest: it counts training steps, all of them, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from bench.compose import compose
from bench.config import HardwareConfig, ModelConfig
from bench.data.batches import Batch
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.runs.clock import WARMUP_STEPS, Timing, TrainingClock
from bench.runs.trainer import borrowed_torch, make_trainer, quiet_lightning

SLOW = 0.3  # seconds of whatever must not, or must, be counted; a step takes a few milliseconds
WORDS, CLASSES = 20, 2


class Batches(Dataset[Batch]):
    """Batches of texts of some lengths each; fetching one takes some seconds."""

    def __init__(self, batches: list[list[int]], seconds: float = 0.0) -> None:
        self.batches = batches
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        time.sleep(self.seconds)
        lengths = torch.tensor(self.batches[number])
        tokens = torch.ones(len(lengths), int(lengths.max()), dtype=torch.int64)
        tokens *= torch.arange(tokens.shape[1]) < lengths[:, None]
        rows = torch.arange(len(lengths))
        return Batch(tokens, lengths, rows % CLASSES, rows, torch.full((len(lengths),), 1 / len(lengths)))


class SlowLooker(Callback):
    """Looks at every step, and at every evaluation, and takes its time."""

    def __init__(self, at_steps: float = 0.0, at_evaluations: float = 0.0) -> None:
        self.at_steps, self.at_evaluations = at_steps, at_evaluations
        self.looks = 0

    def on_train_batch_end(self, *_: object) -> None:
        self.looks += 1
        time.sleep(self.at_steps)

    def on_validation_start(self, *_: object) -> None:
        time.sleep(self.at_evaluations)

    def on_validation_end(self, *_: object) -> None:
        self.looks += 1
        time.sleep(self.at_evaluations)

    def on_train_epoch_end(self, *_: object) -> None:
        time.sleep(self.at_evaluations)


def fit(
    clock: TrainingClock, batches: list[list[int]], *lookers: Callback, epochs: int = 1, waiting: float = 0
) -> None:
    """A real fit of a tiny network, evaluated after each epoch. waiting: seconds for each training batch."""
    config = compose(["training.schedule=constant", "hardware=cpu", "hardware.threads=1"])
    model = ModelConfig(cell="gru", hidden_size=2)
    network = TextClassifier(model, 2, torch.ones(WORDS, 3), trainable_vectors=True, classes=CLASSES, seed=0)
    module = Classifier(network, config.training, CLASSES, len(batches) * epochs, seed=0)
    with quiet_lightning(), borrowed_torch(config.hardware):
        trainer = make_trainer(config.hardware, epochs, [clock, *lookers, clock.after_looking])
        trainer.fit(module, loader(batches, waiting), loader(batches[:1]))


def timed(
    batches: list[list[int]], *lookers: Callback, epochs: int = 1, waiting: float = 0
) -> tuple[TrainingClock, Timing]:
    """A clock after such a fit, and what it read."""
    clock = TrainingClock()
    fit(clock, batches, *lookers, epochs=epochs, waiting=waiting)
    timing = clock.timing()
    assert timing is not None
    return clock, timing


def loader(batches: list[list[int]], waiting: float = 0.0) -> DataLoader[Batch]:
    return DataLoader(Batches(batches, waiting), batch_size=None)


def durations(timing: Timing) -> np.ndarray:
    """Seconds of each step."""
    return np.diff(timing.cumulative)


# -- what counts -----------------------------------------------------------------------------------------------------


def test_looking_at_a_step_is_no_part_of_it() -> None:
    looker = SlowLooker(at_steps=SLOW)
    clock, timing = timed([[3, 2]] * 6, looker)
    assert (looker.looks, timing.steps) == (7, 6)
    assert timing.step_milliseconds_p50 < SLOW * 1e3
    assert clock.seconds < 6 * SLOW, "nor of the limit on time, and of the time that is left"


def test_a_step_after_an_evaluation_is_not_charged_with_it() -> None:
    looker = SlowLooker(at_evaluations=SLOW)
    _, timing = timed([[3, 2]], looker, epochs=5)
    assert (looker.looks, timing.steps) == (10, 5)
    assert timing.step_milliseconds_p50 < SLOW * 1e3


def test_waiting_for_data_counts_and_the_first_batch_of_an_epoch_is_waited_for_too() -> None:
    _, timing = timed([[3, 2]] * 2, epochs=2, waiting=SLOW)
    assert timing.steps == 4
    assert durations(timing).min() >= SLOW


def test_the_clock_counts_no_more_than_the_wall() -> None:
    begun = time.perf_counter()
    _, timing = timed([[3, 2]] * 20)
    assert 0 < timing.train_seconds < time.perf_counter() - begun
    assert durations(timing).sum() == pytest.approx(timing.train_seconds)


# -- warm-up, short runs, uneven batches -----------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (10 * WARMUP_STEPS - 1, 0), (10 * WARMUP_STEPS, WARMUP_STEPS)])
def test_a_run_with_no_step_to_spare_has_no_warm_up(steps: int, warmup: int) -> None:
    _, timing = timed([[1]] * steps)
    assert (timing.steps, timing.warmup_steps) == (steps, warmup)
    assert np.count_nonzero(durations(timing)) == steps - warmup
    assert timing.train_seconds > 0
    assert timing.seconds_after(steps) == pytest.approx(timing.train_seconds)


def test_what_was_reached_within_the_warm_up_took_no_measured_time() -> None:
    _, timing = timed([[1]] * 10 * WARMUP_STEPS)
    assert timing.seconds_after(WARMUP_STEPS) == 0
    assert timing.seconds_after(WARMUP_STEPS + 1) > 0


def test_a_smaller_last_batch_counts_as_what_it_holds() -> None:
    _, timing = timed([[4, 2], [4, 2], [3]])
    assert timing.steps == 3
    assert timing.samples_per_second * timing.train_seconds == pytest.approx(5)
    assert timing.tokens_per_second * timing.train_seconds == pytest.approx(15)
    assert timing.padded_tokens_per_second * timing.train_seconds == pytest.approx(19)
    assert timing.padding_fraction == pytest.approx(4 / 19)


def test_a_text_that_merely_fills_a_share_does_not_count() -> None:
    clock, module = TrainingClock(), LightningModule()
    trainer = make_trainer(HardwareConfig(accelerator="cpu"), 1, [])
    batch = Batches([[3, 2]])[0]._replace(weights=torch.tensor([1.0, 0.0]))
    clock.on_train_batch_start(trainer, module, batch, 0)
    clock.on_train_batch_end(trainer, module, None, batch, 0)
    clock.on_train_end(trainer, module)
    timing = clock.timing()
    assert timing is not None
    assert timing.samples_per_second * timing.train_seconds == pytest.approx(1)
    assert timing.padding_fraction == pytest.approx(1 / 2)


def test_an_interrupted_step_is_not_counted() -> None:
    class Interrupted(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, index: int) -> None:
            if index == 3:
                raise RuntimeError("the machine is on fire")

    clock = TrainingClock()
    with pytest.raises(RuntimeError, match="on fire"):
        fit(clock, [[3, 2]] * 6, Interrupted())
    timing = clock.timing()
    assert timing is not None
    assert timing.steps == 3


def test_a_clock_that_saw_no_step_reads_nothing() -> None:
    assert TrainingClock().timing() is None
