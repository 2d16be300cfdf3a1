"""What a training step of one recurrent layer costs under each execution, beside this machine's matrix product.

usage: [GOMP_SPINCOUNT=1000] python benchmarks/kernels.py [TIME,BATCH,INPUT,HIDDEN ...] [--ladder] [--cpu-time]
       [--threads N] [--repetitions N] [--executions NAME ...]

Forward and backward pass of one layer in one direction, gradients of the input included: PyTorch's module (`torch`),
the compiled recurrence (`step`) and the loop in PyTorch (`step, loop`). Contenders take turns within each repetition,
with a matrix product (2048, 2048) x (2048, 2048) before each; ratios are medians over repetitions of what one
repetition gave, so that a disturbed moment meets both sides. FLOPs are 3 * 2 * gates * H * (E + H) per token.
--cpu-time counts the processor time of all threads, which says something on a machine that others use too; what threads
wait for each other it leaves out.

What attempts at the compiled recurrence gave (two shared cores, Intel Sapphire Rapids, virtual; other programs running,
so only ratios of contenders that took turns mean something):
- the product of some rows with packed weights, in tiles of 6 rows by 4 vectors: 97 to 114 GFLOP/s on one thread at
  hidden 128 and 256, where a matrix product of 2048 reached 96;
- -O2 instead of -O3 (GCC 12): two to four times as long, the tile's sums no longer stay in registers;
- asking the caches for the next step's rows during a product: 0.94 to 1.06 of the time at hidden 128, no gain;
- a guess of 1 / x and one step of Newton's method instead of a division, and forced inlining of the gates' functions:
  no difference (65 ns for the five of an LSTM over 16 units, against 300 for their product at hidden 256);
- packing W_hh in blocks of a vector's length: 0.04 to 0.1 ms more at hidden 128, 0.1 less at 256, so left simple;
- the biases of a GRU's candidate both added in the gates' loop: saves one pass over the products;
- memory that glibc does not give back (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_ large), hidden 256: GRU's backward
  pass 1.83 to 1.26 times what its product alone would take, for fresh pages cost as much as arithmetic. Not set here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.models.cells import CELLS as ALL_CELLS
from bench.models.kernels import native
from bench.models.kernels.recurrence import Weights, recurrence
from bench.models.sizes import GATES

CELLS = {cell: ALL_CELLS[cell] for cell in ("rnn", "gru", "lstm")}
EXECUTIONS = ("torch", "step", "step, loop")
SIZE = 2048  # of the matrix product
GOALS = ("200,64,300,256", "200,64,100,128")  # time, batch, input, hidden
LADDER = [(steps, batch, hidden, hidden) for hidden in (32, 64, 128, 256, 512) for batch in (1, 16, 64, 256)
          for steps in (16, 64, 256)]  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """Seconds of one training step, and of the matrix product just before it."""

    seconds: float
    product_seconds: float


@contextmanager
def execution(name: str) -> Iterator[None]:
    """Ask for the loop in PyTorch where it is meant."""
    if name == "step, loop":
        os.environ["BENCH_KERNEL"] = "loop"
    try:
        yield
    finally:
        os.environ.pop("BENCH_KERNEL", None)


def training_step(cell: str, name: str, shape: tuple[int, ...]) -> Callable[[], None]:
    """One forward and backward pass over the same inputs, (time, batch, input)."""
    steps, batch, features, hidden = shape
    layer = CELLS[cell].module(features, hidden)
    inputs = torch.randn(steps, batch, features, requires_grad=True)
    grad_states = torch.randn(steps, batch, hidden)
    weights = Weights(*layer.parameters())

    def step() -> None:
        with execution(name):
            states = layer(inputs)[0] if name == "torch" else recurrence(cell, inputs, weights, None)
            states.backward(grad_states)
        layer.zero_grad(set_to_none=True)
        inputs.grad = None

    return step


@dataclass(frozen=True)
class Options:
    """How to measure. clock: in seconds."""

    clock: Callable[[], float]
    repetitions: int
    executions: tuple[str, ...]

    def seconds_of(self, job: Callable[[], object]) -> float:
        began = self.clock()
        job()
        return self.clock() - began


def measure(jobs: dict[str, Callable[[], None]], options: Options) -> dict[str, list[Reading]]:
    """Every job once per repetition, in turns, each after a matrix product; a first round warms up and is not kept."""
    left, right = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    product = torch.empty(SIZE, SIZE)
    readings: dict[str, list[Reading]] = {name: [] for name in jobs}
    for repetition in range(options.repetitions + 1):
        for name, job in jobs.items():
            product_seconds = options.seconds_of(lambda: torch.mm(left, right, out=product))
            reading = Reading(options.seconds_of(job), product_seconds)
            if repetition:
                readings[name].append(reading)
    return readings


def median_ratio(above: list[Reading], below: list[Reading]) -> str:
    ratios = [one.seconds / other.seconds for one, other in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def one_shape(shape: tuple[int, ...], options: Options) -> None:
    """All cells and executions at one shape: milliseconds, share of the matrix product's rate, ratios."""
    steps, batch, features, hidden = shape
    jobs = {f"{cell} {name}": training_step(cell, name, shape) for name in options.executions for cell in CELLS}
    readings = measure(jobs, options)
    print(f"\ntime {steps}, batch {batch}, input {features}, hidden {hidden}")
    for key, values in readings.items():
        flops = 3 * 2 * GATES[key.split()[0]] * hidden * (features + hidden) * steps * batch
        shares = [flops / one.seconds / (2 * SIZE**3 / one.product_seconds) for one in values]
        milliseconds = statistics.median(one.seconds for one in values) * 1e3
        print(f"  {key:<16}{milliseconds:8.1f} ms {statistics.median(shares):6.0%} of the matrix product's rate")
    for name in options.executions:
        print(f"  GRU / LSTM, {name}: {median_ratio(readings[f'gru {name}'], readings[f'lstm {name}'])}")
    for cell in CELLS if {"torch", "step"} <= set(options.executions) else ():
        print(f"  {cell}, step / torch: {median_ratio(readings[f'{cell} step'], readings[f'{cell} torch'])}")


def ladder(options: Options) -> None:
    """`step` against `torch` over widths, batches and lengths (input size = hidden size): ratios of time."""
    print(
        "\n  hidden batch  time" + "".join(f"{f'{cell} step/torch':>18}" for cell in CELLS) + f"{'gru/lstm step':>18}"
    )
    for shape in LADDER:
        jobs = {f"{cell} {name}": training_step(cell, name, shape) for name in ("torch", "step") for cell in CELLS}
        readings = measure(jobs, options)
        pairs = [(f"{cell} step", f"{cell} torch") for cell in CELLS] + [("gru step", "lstm step")]
        ratios = [median_ratio(readings[above], readings[below]).split()[0] for above, below in pairs]
        print(f"{shape[3]:>8}{shape[1]:>6}{shape[0]:>6}" + "".join(f"{ratio:>18}" for ratio in ratios), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=GOALS, help="TIME,BATCH,INPUT,HIDDEN")
    parser.add_argument("--ladder", action="store_true", help="ratios over widths, batches and lengths instead")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--executions", nargs="+", choices=EXECUTIONS, default=EXECUTIONS)
    given = parser.parse_args()
    if not native.available():
        raise SystemExit(f"nothing to compare: {native.why_not()}")
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    clock = time.process_time if given.cpu_time else time.perf_counter
    options = Options(clock, given.repetitions, tuple(given.executions))
    print(f"{given.threads} threads, medians of {given.repetitions} repetitions")
    if given.ladder:
        ladder(options)
        return
    for shape in given.shapes:
        one_shape(tuple(int(size) for size in shape.split(",")), options)


if __name__ == "__main__":
    main()
