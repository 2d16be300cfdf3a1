"""What the parallel scan of minGRU and minLSTM gains, by length: ratios of contenders that take turns in one process.

usage: python benchmarks/scan.py [--lengths T ...] [--batch N] [--hidden N] [--inputs N] [--turns N] [--threads N]

Two tables. The recurrence h_t = a_t h_{t−1} + b_t alone, forward: in blocks as the program computes it, one step after
the other (one operator a step, no graph), and by doubling (log2 T rounds, each over all steps). Then a training step of
one layer, forward and backward with the gradient of its inputs: minGRU and minLSTM by scan (`step`) and by their loop
under autograd (`torch`), beside PyTorch's GRU and the hand-written one. Milliseconds are medians over turns; a ratio is
the median over turns of what one turn gave.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.config import Kernel
from bench.models.kernels.layers import StepLayer, build_direction
from bench.models.kernels.scan import scan

LAYERS: tuple[tuple[str, Kernel], ...] = (
    ("mingru", "step"), ("mingru", "torch"), ("minlstm", "step"), ("minlstm", "torch"),
    ("gru", "torch"), ("gru", "step"),
)  # fmt: skip
Job = Callable[[], object]


def one_by_one(decay: Tensor, entry: Tensor) -> Tensor:
    """One operator a step."""
    states = torch.empty_like(entry)
    states[0] = entry[0]
    for a, b, before, after in zip(decay[1:].unbind(0), entry[1:].unbind(0), states[:-1].unbind(0),
                                   states[1:].unbind(0), strict=True):  # fmt: skip
        torch.addcmul(b, a, before, out=after)
    return states


def doubling(decay: Tensor, entry: Tensor) -> Tensor:
    """Every state adds what lay 1, 2, 4 ... steps before it, and every decay takes in those it has passed."""
    distance = 1
    while distance < len(entry):
        added = torch.addcmul(entry[distance:], decay[distance:], entry[:-distance])
        product = decay[distance:] * decay[:-distance]
        entry, decay = torch.cat([entry[:distance], added]), torch.cat([decay[:distance], product])
        distance *= 2
    return entry


def recurrences(shape: tuple[int, int, int]) -> dict[str, Job]:
    """The ways to compute one and the same recurrence. shape: (time, batch, hidden)."""
    decay, entry = torch.rand(shape), torch.randn(shape)
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "blocks": scan, "one by one": one_by_one, "doubling": doubling
    }  # fmt: skip
    for way in ways.values():
        torch.testing.assert_close(way(decay, entry), scan(decay, entry), rtol=1e-4, atol=1e-4)
    return {name: lambda way=way: way(decay, entry) for name, way in ways.items()}  # type: ignore[misc]


def training_steps(shape: tuple[int, int, int], inputs: int) -> dict[str, Job]:
    """Forward and backward pass of one layer. shape: (time, batch, hidden)."""
    return {f"{cell} {kernel}": _training_step(cell, kernel, shape, inputs) for cell, kernel in LAYERS}


def _training_step(cell: str, kernel: Kernel, shape: tuple[int, int, int], size: int) -> Job:
    steps, batch, hidden = shape
    layer = build_direction(cell, kernel, size, hidden)
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(hidden**-0.5), hidden**-0.5)
    values = torch.randn(steps, batch, size).transpose(0, 1).requires_grad_()
    lengths, gradient = torch.full((batch,), steps), torch.randn(steps, batch, hidden).transpose(0, 1)

    def step() -> None:
        states = layer(values, lengths) if isinstance(layer, StepLayer) else layer(values)[0]
        states.backward(gradient)
        layer.zero_grad(set_to_none=True)
        values.grad = None

    return step


def measure(jobs: dict[str, Job], turns: int) -> dict[str, list[float]]:
    """Seconds of every job in every turn; a first round warms up and is not kept."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def show(title: str, lengths: Sequence[int], jobs_of: Callable[[int], dict[str, Job]], turns: int) -> None:
    """Milliseconds of all contenders by length, and each one's ratio to the first."""
    print(f"\n{title}: ms (ratio to the first)")
    for length in lengths:
        seconds = measure(jobs_of(length), turns)
        first = next(iter(seconds.values()))
        shown = [
            f"{name} {statistics.median(taken) * 1e3:.2f}"
            f" ({statistics.median(one / base for one, base in zip(taken, first, strict=True)):.2f})"
            for name, taken in seconds.items()
        ]
        print(f"  {length:>5} tokens  " + "   ".join(shown), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256, 1024])
    for name, default in (("batch", 32), ("hidden", 128), ("inputs", 100), ("turns", 7), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    batch, hidden = options.batch, options.hidden
    print(f"batch {batch}, hidden {hidden}, inputs {options.inputs}, {torch.get_num_threads()} threads")
    show("recurrence", options.lengths, lambda length: recurrences((length, batch, hidden)), options.turns)
    show(
        "training step of a layer", options.lengths,
        lambda length: training_steps((length, batch, hidden), options.inputs), options.turns,
    )  # fmt: skip


if __name__ == "__main__":
    main()
