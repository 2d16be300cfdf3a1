"""An honest clock: device-synchronised, warm-up and evaluation excluded, the slowest process counts.

A step begins where the one before it ended, so waiting for data is part of it; what callbacks do between the two
(`AfterLooking`: the learning curve, logging, limits) is not. Steps between two evaluations are a segment; the first one
begins with the epoch, when all processes have come that far. On a GPU the marks are CUDA events in the stream of the
work, and counts stay on the device until the segment ends, so that measuring does not make the host wait at every step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bench.data.batches import Batch
from bench.distributed import gather, is_first_process
from bench.runs.contention import Contention

WARMUP_STEPS = 5
_ENOUGH_STEPS = 10 * WARMUP_STEPS  # a shorter run has no step to spare for warm-up

Mark = float | torch.cuda.Event
Outputs = Tensor | Mapping[str, Any] | None  # what Lightning hands to callbacks after a training step


@dataclass(frozen=True)
class Timing:
    """What the clock read. Times in seconds or milliseconds as named; rates count all processes together."""

    steps: int
    warmup_steps: int
    train_seconds: float
    step_milliseconds_p50: float
    step_milliseconds_p95: float
    samples_per_second: float
    tokens_per_second: float
    padded_tokens_per_second: float
    padding_fraction: float
    cumulative: np.ndarray  # (steps + 1,) train_seconds after so many steps

    def seconds_after(self, step: int) -> float:
        """`train_seconds` when `step` steps had been taken."""
        return float(self.cumulative[step])


class TrainingClock(Callback):
    """Times every optimiser step of a fit, and watches who else uses the processor meanwhile.

    It goes first among the trainer's callbacks, and its `after_looking` last.
    """

    def __init__(self) -> None:
        self.contention = Contention()
        self.after_looking = AfterLooking(self)
        self._durations: list[float] = []
        self._counts: list[tuple[int, int, int]] = []  # texts, real tokens, padded tokens of each step
        self._open_counts: list[tuple[Tensor, Tensor, int]] = []  # the same of the open segment, still on the device
        self._parts = [0]  # the first step of each part: a run that was resumed has several
        self._tokens: Tensor | int = 0
        self._marks: list[tuple[Mark, Mark]] = []  # of the open segment: beginning and end of each step
        self._begun: Mark | None = None  # of the step that is under way
        self._is_open = False
        self._started = 0.0
        self.seconds = 0.0  # host time in training so far; on a GPU an estimate until the segment ends

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open a segment: the first batch of an epoch is waited for as all others are."""
        self._open_segment(trainer, module)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Batch, batch_index: int) -> None:
        """Open a segment within an epoch, where an evaluation has interrupted it."""
        self._open_segment(trainer, module)
        if self._begun is None:
            self.go_on(module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """Close a step."""
        assert self._begun is not None
        self._marks.append((self._begun, _mark(module)))
        self._begun = None
        self.seconds += time.perf_counter() - self._started
        counted = batch.weights > 0
        tokens = (batch.lengths * counted).sum()
        self._tokens = self._tokens + tokens
        self._open_counts.append((counted.sum(), tokens, batch.tokens.numel()))

    def go_on(self, module: LightningModule) -> None:
        """The next step begins."""
        self._begun = _mark(module)
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Evaluation is not training time."""
        self._close_segment(module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close what is open."""
        self._close_segment(module)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Close what is open: an interrupted run keeps its timing."""
        self._close_segment(module)

    def _open_segment(self, trainer: Trainer, module: LightningModule) -> None:
        """All processes begin together, so that none is charged with another one's evaluation."""
        if self._is_open:
            return
        self._is_open = True
        self.contention.start()
        _synchronise(module)
        if trainer.world_size > 1:
            trainer.strategy.barrier()
        self.go_on(module)

    def _close_segment(self, module: LightningModule) -> None:
        _synchronise(module)
        self.contention.stop()
        self._durations += [_between(*marks) for marks in self._marks]
        self._counts += [(int(texts), int(tokens), padded) for texts, tokens, padded in self._open_counts]
        self._marks, self._open_counts, self._begun, self._is_open = [], [], None, False

    def state_dict(self) -> dict[str, Any]:
        """The reading over all processes, as a checkpoint holds it; all processes must ask."""
        durations, counts = _over_processes(*self._read())
        return {
            "durations": torch.from_numpy(durations),
            "counts": torch.from_numpy(counts),
            "parts": self._parts,
            "seconds": max(gather(self.seconds)),
            "tokens": int(self._tokens),
            "contention": self.contention.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there. The first process takes what was read over all, the others nothing: together, it is right
        for any number of processes."""
        durations, counts = state_dict["durations"], state_dict["counts"]
        if is_first_process():
            self.seconds, self._tokens = float(state_dict["seconds"]), int(state_dict["tokens"])
        else:
            durations, counts = torch.zeros_like(durations), torch.zeros_like(counts)
        self._durations = durations.tolist()
        self._counts = [(texts, tokens, padded) for texts, tokens, padded in counts.tolist()]
        self._parts = [*state_dict["parts"], len(self._durations)]
        self.contention.load_state_dict(state_dict["contention"])

    def tokens_per_second(self) -> float:
        """Real tokens per second of this process so far, for display."""
        return int(self._tokens) / self.seconds if self.seconds else 0.0

    def timing(self, over_processes: bool = False) -> Timing | None:
        """The reading so far; None if no step was taken.

        over_processes: each step's longest duration and summed counts; all processes must ask.
        """
        durations, counts = self._read()
        if over_processes:
            durations, counts = _over_processes(durations, counts)
        if not durations.any():
            return None
        warmup = _warmup(len(durations), self._parts)
        timed, counted = durations[~warmup], counts[~warmup].sum(axis=0)
        seconds = float(timed.sum())
        return Timing(
            steps=len(durations),
            warmup_steps=int(warmup.sum()),
            train_seconds=seconds,
            step_milliseconds_p50=float(np.percentile(timed, 50) * 1e3),
            step_milliseconds_p95=float(np.percentile(timed, 95) * 1e3),
            samples_per_second=float(counted[0] / seconds),
            tokens_per_second=float(counted[1] / seconds),
            padded_tokens_per_second=float(counted[2] / seconds),
            padding_fraction=float(1 - counts[:, 1].sum() / counts[:, 2].sum()),
            cumulative=np.concatenate([[0.0], np.cumsum(np.where(warmup, 0.0, durations))]),
        )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """Durations (steps,) and counts (steps, 3) of all closed steps of this process."""
        steps = min(len(self._durations), len(self._counts))  # they differ where an interrupt fell between the two
        counts = np.array(self._counts[:steps], dtype=np.int64).reshape(steps, 3)
        return np.array(self._durations[:steps], dtype=np.float64), counts


class AfterLooking(Callback):
    """Lets the clock go on once all other callbacks have looked at a step."""

    def __init__(self, clock: TrainingClock) -> None:
        self._clock = clock

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Outputs, batch: Batch, batch_index: int
    ) -> None:
        """The next step begins."""
        self._clock.go_on(module)


def _warmup(steps: int, parts: Sequence[int]) -> np.ndarray:
    """(steps,) bool: the first steps of each part that has enough of them. parts: the first step of each."""
    warmup = np.zeros(steps, bool)
    for first, end in pairwise([*parts, steps]):
        if end - first >= _ENOUGH_STEPS:
            warmup[first : first + WARMUP_STEPS] = True
    return warmup


def _over_processes(durations: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each step's longest duration and summed counts over all processes."""
    parts = gather((durations, counts))
    return np.max([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)


def _mark(module: LightningModule) -> Mark:
    if module.device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _between(first: Mark, second: Mark) -> float:
    """Seconds from one mark to the next; the device has been synchronised."""
    if isinstance(first, float) and isinstance(second, float):
        return second - first
    assert isinstance(first, torch.cuda.Event)
    assert isinstance(second, torch.cuda.Event)
    return float(first.elapsed_time(second)) / 1e3


def _synchronise(module: LightningModule) -> None:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
