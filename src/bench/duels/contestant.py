"""A contestant at work: its own network, optimiser and word vectors, and what one training step of it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from bench.config import HardwareConfig
from bench.data.batches import Batch
from bench.duels.plan import Contestant
from bench.errors import UserError
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.models.tasks import task_of
from bench.runs.contention import thread_seconds
from bench.runs.identity import ResolvedRun

Turn = Callable[[Batch], object]

_SIDE = 1024  # of the square matrices whose product stands for the machine's rate
MATRIX_PRODUCT_FLOPS = 2 * _SIDE**3


class Trainee:
    """A network that is trained, one step a turn, by the parts that runs are made of.

    vectors: (rows, dimension) float32, the embedding table, of which every contestant gets a copy;  device: where the
    network works.
    """

    def __init__(
        self, contestant: Contestant, run: ResolvedRun, vectors: Tensor, classes: int, device: torch.device
    ) -> None:
        config = run.config
        network = TextClassifier(
            config.model,
            contestant.hidden_size,
            vectors.clone(),
            trainable_vectors=config.embedding.frozen_epochs is not None,
            classes=classes,
            seed=config.seed,
            kernel=contestant.kernel,
            task=task_of(config.data),
        )
        recipe = replace(config.training, schedule="constant", warmup_fraction=0.0)
        self.module = Classifier(network, recipe, classes, 1, config.seed).to(device).train()
        optimizer = self.module.configure_optimizers()
        assert isinstance(optimizer, Optimizer)  # a constant rate needs no schedule beside it
        self._optimizer = optimizer
        self._mixed = config.hardware.precision == "bf16"
        self._named = f"{contestant.cell} of width {contestant.hidden_size} under {contestant.kernel}"

    def __call__(self, batch: Batch) -> None:
        """One training step: forward, loss, backward, clipping, optimiser.

        Raises: `UserError` if the loss is no longer a number.
        """
        self._optimizer.zero_grad()
        context = torch.autocast(batch.tokens.device.type, torch.bfloat16) if self._mixed else nullcontext()
        with context:
            loss = self.module.training_loss(batch)
        if batch.tokens.device.type == "cpu" and not bool(torch.isfinite(loss)):  # as runs look at it
            raise UserError(f"the loss of {self._named} became {loss.item()}: lower training.learning_rate")
        loss.backward()  # type: ignore[no-untyped-call]
        self.module.configure_gradient_clipping(self._optimizer)
        self._optimizer.step()


class MatrixProduct:
    """A square matrix product that takes its turn like everyone else: what the machine's arithmetic gives just now."""

    def __init__(self, device: torch.device, hardware: HardwareConfig) -> None:
        kind = torch.bfloat16 if hardware.precision == "bf16" else torch.float32
        self._left, self._right, self._out = (torch.ones(_SIDE, _SIDE, device=device, dtype=kind) for _ in range(3))

    def __call__(self, batch: Batch) -> None:
        """2 · 1024³ operations, whatever the batch."""
        torch.mm(self._left, self._right, out=self._out)


def device_of(hardware: HardwareConfig) -> torch.device:
    """Where a duel takes place.

    Raises: `UserError` if a GPU is asked for that is not there, or several devices.
    """
    if hardware.devices > 1:
        raise UserError("a duel runs in one process on one device: leave hardware.devices and hardware=ddp out")
    if hardware.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("hardware.accelerator=gpu: torch sees no CUDA device here; try hardware=cpu")
    return torch.device("cuda" if hardware.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Timing:
    """One turn. seconds: it took;  waited: seconds that this process's threads waited for a processor meanwhile, all
    threads together; NaN where the system does not tell."""

    seconds: float
    waited: float


def timed(turn: Turn, batch: Batch, device: torch.device) -> Timing:
    """Take one turn, the device at rest before and after it; on a GPU timed between two CUDA events."""
    before = _waited()
    seconds = _seconds(turn, batch, device)
    return Timing(seconds, _waited() - before)


def _waited() -> float:
    threads = thread_seconds()
    return math.nan if threads is None else sum(waited for _, waited in threads.values())


def _seconds(turn: Turn, batch: Batch, device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        turn(batch)
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    first.record()
    turn(batch)
    last.record()
    torch.cuda.synchronize(device)
    return float(first.elapsed_time(last)) / 1e3
