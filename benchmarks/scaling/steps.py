"""One training step of `scale.py` at work: forward, loss, backward, clipping, optimiser; timed, or weighed."""

from __future__ import annotations

import gc
import random
import time
from dataclasses import replace

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from bench.compose import compose
from bench.models.classifier import Classifier
from bench.models.encoder import TextClassifier
from bench.processor import keep_freed_memory
from bench.runs.memory import forget_peak, peak_memory
from scaling.ladders import CLASSES, DIMENSION, ROWS, Contestant, Ladder, Size, model_of

LEAST_TURNS = 3


class Step:
    """A network in training, and one batch of texts that are all equally long."""

    def __init__(self, contestant: Contestant, size: Size) -> None:
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(ROWS, DIMENSION, generator=generator)
        model = model_of(contestant, size)
        network = TextClassifier(
            model, size.width, vectors, trainable_vectors=True, classes=CLASSES, seed=0, kernel=contestant.kernel
        )
        recipe = replace(compose([]).training, schedule="constant", warmup_fraction=0.0)
        self._module = Classifier(network, recipe, CLASSES, 1, 0).train()
        optimizer = self._module.configure_optimizers()
        assert isinstance(optimizer, Optimizer)  # a constant rate needs no schedule beside it
        self._optimizer = optimizer
        self._tokens = torch.randint(1, ROWS, (size.texts, size.length), generator=generator)
        self._labels = torch.randint(0, CLASSES, (size.texts,), generator=generator)

    def __call__(self) -> None:
        """One training step on the whole batch."""
        self._train(self._tokens)

    def warm_up(self) -> None:
        """One training step on the texts' first two tokens: kernels are loaded, the optimiser has its memory."""
        self._train(self._tokens[:, :2])

    def _train(self, tokens: Tensor) -> None:
        self._optimizer.zero_grad()
        lengths = torch.full((len(tokens),), tokens.shape[1])
        F.cross_entropy(self._module.network(tokens, lengths), self._labels).backward()  # type: ignore[no-untyped-call]
        self._module.configure_gradient_clipping(self._optimizer)
        self._optimizer.step()


def turns(ladder: Ladder, quick: bool, seconds: float) -> list[list[list[float]]]:
    """Seconds of one training step: a list for each turn, in it one for each contestant, in it one for each size.

    Within a turn everyone trains every size once, in a random order. seconds: after which no further turn begins.
    """
    keep_freed_memory()
    places = [(who, size) for who in ladder.contestants for size in ladder.sizes(quick).values()]
    steps = {place: Step(*place) for place in places}
    for step in steps.values():
        step.warm_up()
        step()
    found: list[list[list[float]]] = []
    end, draw = time.monotonic() + seconds, random.Random(0)
    gc.disable()
    while len(found) < LEAST_TURNS or time.monotonic() < end:
        took = {place: _seconds(steps[place]) for place in draw.sample(places, len(places))}
        found.append([[took[who, size] for size in ladder.sizes(quick).values()] for who in ladder.contestants])
    return found


def _seconds(step: Step) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def weight(contestant: Contestant, size: Size) -> int:
    """Bytes that one training step needs beside what lay there before: in a fresh process, called once."""
    step = Step(contestant, size)
    step.warm_up()
    gc.collect()
    before = psutil.Process().memory_info().rss
    forget_peak()
    step()
    peak = peak_memory(torch.device("cpu")).peak_host_memory_bytes
    assert peak is not None
    return peak - before
