"""What a run's training costs beyond its arithmetic: Lightning, data loader, clock and learning curve.

usage: python benchmarks/overhead.py [KEY=VALUE ...]   (what a run takes; without any: IMDB at 100 x 128, and a small
model of short news)

Two networks of equal weights are trained in one process, in turns of some steps: one by the trainer that runs use, with
all that watches its steps, the other by a loop of a few lines over the same batches, with the same loss, clipping and
optimiser. Neither evaluates or writes checkpoints. A turn begins where the one before it ended, so that fetching data
and a look at the learning curve are part of it. What is printed is processor time on one thread, which other processes
disturb little: the median ratio of neighbouring turns, the interval that holds nine tenths of these ratios, and the
median difference, which is as large with more threads.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from bench.compose import compose
from bench.data.batches import Batch, BatchDataset, BucketSampler
from bench.data.module import TextDataModule
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.runs.clock import Outputs
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.trainer import borrowed_torch, quiet_lightning
from bench.runs.training import Fit

LIMIT = 1.03  # the trainer may take this many times as long as the bare loop, where a step is worth the name
TURN_SECONDS, TURNS = 0.5, 24
_WARMUP = 6  # steps
IMDB = ["data=imdb", "data.max_length=256", "data.vocabulary_size=25000", "embedding.dimension=100",
        "model.hidden_size=128", "training.batch_size=64"]  # fmt: skip
SMALL = ["data=bbc_news", "data.max_length=64", "embedding.dimension=50", "model.hidden_size=32"]


class Enough(Exception):
    """All turns have been taken."""


class BareLoop:
    """The same training without a trainer: as few lines as do the same arithmetic."""

    def __init__(self, fit: Fit) -> None:
        config = fit.resolved.config
        self.batches = batches_of(fit)
        network = TextClassifier(
            config.model, fit.resolved.hidden_size, torch.from_numpy(fit.table.values.copy()), trainable_vectors=True,
            classes=fit.data.classes, seed=config.seed, kernel=fit.resolved.kernel,
        )  # fmt: skip
        self.module = Classifier(network, config.training, fit.data.classes, 1_000_000, config.seed).train()
        made = self.module.configure_optimizers()
        assert isinstance(made, dict)
        self.optimizer, self.schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]  # type: ignore[index]

    def step(self) -> None:
        """One training step on the next batch."""
        batch = next(self.batches)
        self.optimizer.zero_grad()
        self.module.training_loss(batch).backward()  # type: ignore[no-untyped-call]
        self.module.configure_gradient_clipping(self.optimizer)
        self.optimizer.step()
        self.schedule.step()


def batches_of(fit: Fit) -> Iterator[Batch]:
    """The batches that the trainer sees, epoch after epoch."""
    texts, config = fit.data.train, fit.resolved.config
    dataset, sampler = BatchDataset(texts), BucketSampler(texts.lengths, config.training.batch_size, config.seed)
    for epoch in range(1_000_000):
        sampler.set_epoch(epoch)
        yield from map(dataset.__getitem__, sampler)


class Turns(Callback):
    """Lets the bare loop take its turn after each turn of the trainer. seconds: of a step, turn by turn."""

    def __init__(self, loop: BareLoop) -> None:
        self.loop = loop
        self.steps = _WARMUP  # of a turn
        self.seconds: list[tuple[float, float]] = []
        self._taken = 0
        self._began = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """Count a step; at the end of a turn, let the bare loop take one as long."""
        self._taken += 1
        if self._taken < self.steps:
            return
        took = time.process_time() - self._began
        bare = self._bare_turn()
        if self._began and self.steps == _WARMUP:
            self.steps = max(_WARMUP + 1, round(TURN_SECONDS / bare))
        elif self._began:
            self.seconds.append((took / self.steps, bare))
        if len(self.seconds) == TURNS:
            raise Enough
        self._taken, self._began = 0, time.process_time()

    def _bare_turn(self) -> float:
        """Seconds of a step."""
        began = time.process_time()
        for _ in range(self.steps):
            self.loop.step()
        return (time.process_time() - began) / self.steps


def measure(resolved: ResolvedRun) -> list[tuple[float, float]]:
    """Seconds of a step, turn by turn: the trainer's, the bare loop's."""
    config = resolved.config
    with quiet_lightning(), borrowed_torch(config.hardware), tempfile.TemporaryDirectory() as folder:
        fit = Fit(resolved, Path(folder))
        turns = Turns(BareLoop(fit))
        fit.trainer.limit_val_batches = 0
        watching = [callback for callback in fit.trainer.callbacks if callback is not fit.checkpoints]  # type: ignore[attr-defined]
        fit.trainer.callbacks = [*watching, turns]  # type: ignore[attr-defined]
        module = Classifier(fit.network, config.training, fit.data.classes, 1_000_000, config.seed)
        try:
            fit.trainer.fit(module, TextDataModule(fit.data, config.training.batch_size, config.seed))
        except Enough:
            return turns.seconds
    raise SystemExit("training ended before all turns were taken: more epochs, please")


def show(name: str, overrides: list[str]) -> float:
    """Print a line; returns the median ratio."""
    settings = ["logger=none", "hardware=cpu", "hardware.threads=1", "training.epochs=10000", "training.patience=null"]
    resolved = resolve(compose([*overrides, *settings]))
    seconds = np.array(measure(resolved))
    ratios, more = seconds[:, 0] / seconds[:, 1], np.median(seconds[:, 0] - seconds[:, 1]) * 1e3
    low, middle, high = np.percentile(ratios, [5, 50, 95])
    trainer, bare = np.median(seconds, axis=0) * 1e3
    print(
        f"{name:<30} trainer {trainer:7.2f} ms, bare loop {bare:7.2f} ms, {more:5.2f} ms more; ratio {middle:.3f} "
        f"({low:.3f} to {high:.3f}, {len(ratios)} pairs of turns)", flush=True,
    )  # fmt: skip
    return float(middle)


def main(overrides: list[str]) -> int:
    """Print a line for each work; 1 if the trainer costs too much on the first of them."""
    if overrides:
        return int(show("as typed", overrides) > LIMIT)
    ratios = [show("IMDB, GRU 128", IMDB), show("BBC News, 64 tokens, GRU 32", SMALL)]
    return int(ratios[0] > LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
