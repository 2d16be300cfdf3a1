"""One training step of `scale.py` on texts of one size, and what it takes in turn with all others."""

from __future__ import annotations

import gc
import random
import time

import torch
from training_step import TrainingStep

from bench.models.encoder import TextClassifier
from bench.processor import keep_freed_memory
from scaling.ladders import CLASSES, DIMENSION, ROWS, Contestant, Ladder, Size, model_of

LEAST_TURNS = 3


def step_of(contestant: Contestant, size: Size) -> TrainingStep:
    """A network in training, and one batch of texts that are all equally long."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(ROWS, DIMENSION, generator=generator)
    model = model_of(contestant, size)
    network = TextClassifier(
        model, size.width, vectors, trainable_vectors=True, classes=CLASSES, seed=0, kernel=contestant.kernel
    )
    tokens = torch.randint(1, ROWS, (size.texts, size.length), generator=generator)
    return TrainingStep(network, tokens, torch.randint(0, CLASSES, (size.texts,), generator=generator))


def turns(ladder: Ladder, quick: bool, seconds: float) -> list[list[list[float]]]:
    """Seconds of one training step: a list for each turn, in it one for each contestant, in it one for each size.

    Within a turn everyone trains every size once, in a random order. seconds: after which no further turn begins.
    """
    keep_freed_memory()
    places = [(who, size) for who in ladder.contestants for size in ladder.sizes(quick).values()]
    steps = {place: step_of(*place) for place in places}
    for step in steps.values():
        step(2)
        step()
    found: list[list[list[float]]] = []
    end, draw = time.monotonic() + seconds, random.Random(0)
    gc.disable()
    while len(found) < LEAST_TURNS or time.monotonic() < end:
        took = {place: _seconds(steps[place]) for place in draw.sample(places, len(places))}
        found.append([[took[who, size] for size in ladder.sizes(quick).values()] for who in ladder.contestants])
    return found


def _seconds(step: TrainingStep) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
