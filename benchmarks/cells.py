"""What a training step of each cell costs beside an LSTM's, under both executions: ratios of time, in turns.

usage: python benchmarks/cells.py [--shape TIME,BATCH,INPUT,HIDDEN] [--cells NAME ...] [--repetitions N] [--threads N]

Forward and backward pass of one layer in one direction, gradients of the input included. All contenders take turns
within each repetition; a ratio is the median over repetitions of what one repetition gave, so that a disturbed moment
meets both sides. Beside it stands the ratio of operations (`models/sizes.py`): what a cell saves in arithmetic and what
it saves in time are not the same.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from bench.config import Kernel, ModelConfig
from bench.declarations import DECLARED
from bench.models.encoder import RecurrentEncoder
from bench.models.kernels import native
from bench.models.sizes import encoder_flops_per_token

KERNELS: tuple[Kernel, ...] = ("step", "torch")
REFERENCE = ("lstm", "step")


def encoder_of(cell: str, kernel: Kernel, features: int, hidden: int) -> RecurrentEncoder:
    """One layer with small weights."""
    encoder = RecurrentEncoder(ModelConfig(cell=cell, hidden_size=hidden), features, hidden, kernel)
    for weight in encoder.parameters():
        nn.init.uniform_(weight, -(hidden**-0.5), hidden**-0.5)
    return encoder


def seconds_of(encoder: nn.Module, inputs: torch.Tensor, lengths: torch.Tensor) -> float:
    """One training step without its optimiser."""
    encoder.zero_grad(set_to_none=True)
    inputs.grad = None
    began = time.perf_counter()
    encoder(inputs, lengths).sum().backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="100,32,100,128", help="TIME,BATCH,INPUT,HIDDEN")
    parser.add_argument("--cells", nargs="+", choices=DECLARED, default=list(DECLARED))
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    steps, batch, features, hidden = (int(size) for size in given.shape.split(","))
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    inputs = torch.randn(steps, batch, features).transpose(0, 1).requires_grad_()  # time-major in memory
    lengths = torch.full((batch,), steps)
    cells = list(dict.fromkeys(["lstm", *given.cells]))
    contenders = {(cell, kernel): encoder_of(cell, kernel, features, hidden) for cell in cells for kernel in KERNELS}
    taken: dict[tuple[str, Kernel], list[float]] = {key: [] for key in contenders}
    for repetition in range(given.repetitions + 1):
        for key, encoder in contenders.items():
            seconds = seconds_of(encoder, inputs, lengths)
            if repetition:  # the first one warms up
                taken[key].append(seconds)
    print(f"time {steps}, batch {batch}, input {features}, hidden {hidden}, {given.threads} threads")
    print(f"compiled: {native.why_not() or 'yes'}; medians of {given.repetitions} repetitions, LSTM under step = 1")
    print(f"{'cell':<20}{'operations':>12}{'step':>8}{'torch':>8}")
    reference = taken[REFERENCE]
    operations = {
        cell: encoder_flops_per_token(ModelConfig(cell=cell, hidden_size=hidden), features, hidden) for cell in cells
    }
    for cell in cells:
        ratios = [
            statistics.median(own / other for own, other in zip(taken[cell, kernel], reference, strict=True))
            for kernel in KERNELS
        ]
        share = operations[cell] / operations["lstm"]
        print(f"{cell:<20}{share:>12.2f}" + "".join(f"{ratio:>8.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
