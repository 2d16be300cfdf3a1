"""The executions of a cell, `torch` and two of `step`; as a program, two processes that train with one of them.

usage: python -m tests.executions NAME RANK PORT     prints "equal" if gradients are those of both processes' texts
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as processes
from torch.nn.parallel import DistributedDataParallel

from bench.config import Kernel, ModelConfig
from bench.models.encoder import TextClassifier
from bench.models.kernels import native

_STATE = native.why_not() if os.environ.get("BENCH_KERNEL") != "loop" else "BENCH_KERNEL=loop"
STEP_EXECUTIONS = [
    "loop",
    pytest.param("native", marks=pytest.mark.skipif(_STATE is not None, reason=f"not compiled here: {_STATE}")),
]
EXECUTIONS = ["torch", *STEP_EXECUTIONS]


def kernel_of(name: str) -> Kernel:
    """What `model.kernel` is resolved to under an execution."""
    return "torch" if name == "torch" else "step"


@contextmanager
def execution(name: str) -> Iterator[None]:
    """Within it, `step` is executed by the loop in PyTorch ("loop"), or compiled ("native")."""
    before = os.environ.pop("BENCH_KERNEL", None)
    if name == "loop":
        os.environ["BENCH_KERNEL"] = "loop"
    try:
        yield
    finally:
        os.environ.pop("BENCH_KERNEL", None)
        if before is not None:
            os.environ["BENCH_KERNEL"] = before


def _gradients(network: torch.nn.Module, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
    network(tokens, lengths).square().mean().backward()


def main() -> None:
    name, rank, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    processes.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    draw = torch.Generator().manual_seed(1)
    tokens, lengths = torch.randint(1, 20, (6, 7), generator=draw), torch.tensor([7, 3, 5, 1, 7, 6])
    model = ModelConfig(cell="gru", hidden_size=5, bidirectional=True, num_layers=2)
    vectors = torch.randn(20, 4, generator=draw)
    alone, shared = (
        TextClassifier(model, 5, vectors.clone(), trainable_vectors=True, classes=2, seed=1, kernel="step").double()
        for _ in range(2)
    )
    together = DistributedDataParallel(shared)
    with execution(name):
        _gradients(alone, tokens, lengths)
        mine = slice(3 * rank, 3 * rank + 3)
        _gradients(together, tokens[mine], lengths[mine])
    for one, other in zip(alone.parameters(), shared.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)
    print("equal")
    processes.destroy_process_group()


if __name__ == "__main__":
    main()
