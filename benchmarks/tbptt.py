"""What truncated backpropagation through time costs and saves: step time and peak memory against the window.

usage: [GOMP_SPINCOUNT=1000] python benchmarks/tbptt.py [--cells gru,lstm] [--kernels torch,step]
       [--poolings mean,last] [--length 512] [--batch 32] [--hidden 128] [--turns 8]

One training step (forward, backward, clipping, optimiser) of one layer in one direction on texts that are all equally
long, with windows of T/8, T/4, T/2 and T tokens and without any. Time: all windows take turns in one process, in a
random order, and the ratio to the step without windows is of the same turn; median and range over turns. Memory: the
resident peak of one step above what lay there before it, each in a fresh process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from training_step import TrainingStep, weight

from bench.config import Kernel, ModelConfig, Pooling
from bench.models.encoder import TextClassifier

ROWS, CLASSES, PARTS = 1000, 2, (8, 4, 2, 1)


@dataclass(frozen=True)
class Setting:
    """What is trained, and on what. window: tokens, None for the whole text."""

    cell: str
    kernel: Kernel
    pooling: Pooling
    length: int
    batch: int
    hidden: int
    window: int | None = None

    def windows(self) -> list[Setting]:
        """The setting without windows, and with each of them, longest first."""
        return [self, *(replace(self, window=self.length // parts) for parts in reversed(PARTS))]


def step_of(setting: Setting) -> TrainingStep:
    """A network in training and its batch."""
    draw = torch.Generator().manual_seed(0)
    model = ModelConfig(cell=setting.cell, hidden_size=setting.hidden, pooling=setting.pooling)
    vectors = torch.randn(ROWS, setting.hidden, generator=draw)
    network = TextClassifier(
        model, setting.hidden, vectors, trainable_vectors=True, classes=CLASSES, seed=0, kernel=setting.kernel
    )
    tokens = torch.randint(1, ROWS, (setting.batch, setting.length), generator=draw)
    labels = torch.randint(0, CLASSES, (setting.batch,), generator=draw)
    return TrainingStep(network, tokens, labels, setting.window)


def turns(setting: Setting, count: int) -> list[list[float]]:
    """Seconds of a step: a list for each turn, in it one for each of `Setting.windows`."""
    steps = [step_of(each) for each in setting.windows()]
    for step in steps:
        step()
    found, draw = [], random.Random(0)
    gc.disable()
    for _ in range(count):
        took = [0.0] * len(steps)
        for place in draw.sample(range(len(steps)), len(steps)):
            began = time.perf_counter()
            steps[place]()
            took[place] = time.perf_counter() - began
        found.append(took)
    gc.enable()
    return found


def weight_in_fresh_process(setting: Setting) -> int:
    command = [sys.executable, __file__, "--weigh", json.dumps(asdict(setting))]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def table(setting: Setting, count: int) -> None:
    """Measure one setting with all windows, and print it."""
    print(f"\n{setting.cell}, {setting.kernel}, pooling={setting.pooling}")
    print(f"{'window':>8}{'step ms':>10}{'time':>8}{'range':>16}{'MiB':>9}{'memory':>9}")
    measured = turns(setting, count)
    weights = [weight_in_fresh_process(each) for each in setting.windows()]
    for place, each in enumerate(setting.windows()):
        ratios = [turn[place] / turn[0] for turn in measured]
        milliseconds = 1e3 * statistics.median(turn[place] for turn in measured)
        spread = f"[{min(ratios):.2f}, {max(ratios):.2f}]"
        print(
            f"{each.window or 'none':>8}{milliseconds:10.1f}{statistics.median(ratios):8.2f}{spread:>16}"
            f"{weights[place] / 2**20:9.1f}{weights[place] / weights[0]:9.2f}",
            flush=True,
        )


def main(typed: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", default="gru,lstm")
    parser.add_argument("--kernels", default="torch,step")
    parser.add_argument("--poolings", default="mean,last")
    parser.add_argument("--length", type=int, default=512, help="tokens of every text")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128, help="units, and elements of a word vector")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--weigh", help=argparse.SUPPRESS)
    options = parser.parse_args(typed)
    if options.weigh:
        print(weight(partial(step_of, Setting(**json.loads(options.weigh)))))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads")
    for cell in options.cells.split(","):
        for kernel in options.kernels.split(","):
            for pooling in options.poolings.split(","):
                size = (options.length, options.batch, options.hidden)
                table(Setting(cell, kernel, pooling, *size), options.turns)


if __name__ == "__main__":
    main()
