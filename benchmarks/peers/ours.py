"""The program itself: `Fit`, Lightning and its data module, as `python -m bench` runs them, one epoch a turn.

usage (by the driver): python -m peers.ours [OVERRIDE ...]

A callback waits for the driver before each epoch. A turn lasts from the driver's word to the end of the epoch's last
step, so everything that happens at a step counts: loading, callbacks, the learning curve. Validation does not.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from bench.compose import compose
from bench.runs.clock import Outputs
from bench.runs.identity import resolve
from bench.runs.trainer import borrowed_torch, quiet_lightning
from bench.runs.training import Fit
from peers.protocol import Line
from peers.work import Ready, Texts, Turn


class Quit(Exception):
    """The driver has heard enough."""


class Gate(pl.Callback):
    """Makes each epoch wait for its turn, before any other callback hears of it."""

    def __init__(self, line: Line, turns: Turns) -> None:
        self.line, self.turns = line, turns

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Answer for the epoch before, whose validation is over by now, and wait for the next word."""
        if self.turns.turn is not None:
            self.line.answer(self.turns.turn)
        if not self.line.told_to_train():
            raise Quit
        self.turns.begin()


class Turns(pl.Callback):
    """Says how long an epoch took, after all other callbacks have looked at its last step."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.turn: Turn | None = None

    def begin(self) -> None:
        """The driver has said the word."""
        self.began, self.clock_began = time.perf_counter(), self.fit.clock.seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Outputs, batch: object, batch_index: int
    ) -> None:
        """The last step of an epoch ends the turn."""
        if trainer.is_last_batch:
            seconds, data = time.perf_counter() - self.began, self.fit.data
            read = self.fit.clock.seconds - self.clock_began
            self.turn = Turn(seconds, len(data.train), data.train_tokens, self.padded(), read)

    def padded(self) -> int:
        """Tokens that the epoch's batches hold, padding included."""
        timing = self.fit.clock.timing()
        share = timing.padding_fraction if timing is not None else 0.0
        return round(self.fit.data.train_tokens / (1 - share))


def main() -> None:
    """Prepare a run of the same work, on the driver's texts, and train it turn by turn."""
    line = Line()
    try:
        work = line.work()
        config = compose([*work.overrides, *sys.argv[1:]])
        with quiet_lightning(), borrowed_torch(config.hardware):
            fit = Fit(resolve(config), Path(work.folder) / f"ours-{'-'.join(sys.argv[1:])}")
            rows = Texts.load(work.folder).chosen
            few = fit.data.validation.subset(np.arange(min(work.batch, len(fit.data.validation))))
            fit.data = replace(fit.data, train=fit.data.train.subset(rows), validation=few)
            turns = Turns(fit)
            fit.trainer.callbacks[:] = [Gate(line, turns), *fit.trainer.callbacks, turns]  # type: ignore[attr-defined]
            versions = {"torch": str(torch.__version__), "pytorch-lightning": pl.__version__}
            line.answer(Ready(fit.parameters[0], versions, fit.threads))
            fit.run()
    except Quit:
        return
    except BaseException as error:
        line.failed(error)
        raise


if __name__ == "__main__":
    main()
