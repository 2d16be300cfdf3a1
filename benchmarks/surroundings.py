"""What a training step costs around the recurrence: PyTorch's usual operators beside this project's, part by part.

usage: python benchmarks/surroundings.py [REPETITIONS]   (random tokens of the IMDB run's shape)

Both ways of a part take turns in one process on the same tensors, forward and backward. What is printed is processor
time on one thread, median and smallest: other processes disturb it little, but for what they take of caches and memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.kernels import native_lookup
from bench.models.lookup import WordVectors, clip_gradients
from bench.models.pooling import last_state, max_state, mean_state

TEXTS, TIME, ROWS, DIMENSION, HIDDEN = 64, 204, 25_002, 100, 128
Way = Callable[[], object]


def tokens_and_lengths() -> tuple[Tensor, Tensor]:
    """Words as unevenly frequent as in a language (Zipf), the shorter texts padded."""
    random = np.random.default_rng(0)
    lengths = random.integers(TIME - 10, TIME + 1, TEXTS)
    lengths[0] = TIME
    ranks = (ROWS - 2) ** random.random((TEXTS, TIME))
    tokens = (ranks.astype(np.int64) + 1) * (np.arange(TIME) < lengths[:, None])
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


def words(tokens: Tensor) -> dict[str, Way]:
    """Look-up, dropout of one half, and the gradient of the table."""
    usual = nn.Embedding(ROWS, DIMENSION, padding_idx=0)
    ours = WordVectors(usual.weight.detach().clone(), trainable=True, dropout=0.5).train()
    ours.gradient_by_rows = True
    arriving = torch.randn(TIME, TEXTS, DIMENSION).transpose(0, 1)

    def usual_way() -> None:
        usual.weight.grad = None
        F.dropout(usual(tokens), 0.5).backward(arriving)  # type: ignore[no-untyped-call]

    def our_way() -> None:
        ours.weight.grad = None
        ours(tokens.T).transpose(0, 1).backward(arriving)

    return {"usual": usual_way, "ours": our_way}


def pooling(name: str, lengths: Tensor) -> dict[str, Way]:
    """One vector per text, and the gradient of all states. States lie time-major in memory."""
    states = torch.randn(TIME, TEXTS, HIDDEN).transpose(0, 1).requires_grad_()
    padding = (torch.arange(TIME) >= lengths[:, None])[:, :, None]
    ends = (lengths - 1)[:, None, None].expand(-1, 1, HIDDEN)
    arriving = torch.randn(TEXTS, HIDDEN)
    ways: dict[str, dict[str, Callable[[], Tensor]]] = {
        "mean": {"usual": lambda: states.masked_fill(padding, 0).sum(dim=1) / lengths[:, None],
                 "ours": lambda: mean_state(states, lengths)},
        "max": {"usual": lambda: states.masked_fill(padding, -torch.inf).amax(dim=1),
                "ours": lambda: max_state(states, lengths)},
        "last": {"usual": lambda: states.gather(1, ends).squeeze(1),
                 "ours": lambda: last_state(states, lengths, bidirectional=False)},
    }  # fmt: skip

    def forward_and_backward(pool: Callable[[], Tensor]) -> Way:
        return lambda: torch.autograd.grad(pool(), states, arriving)[0].transpose(0, 1).contiguous()  # as recurrences

    return {way: forward_and_backward(pool) for way, pool in ways[name].items()}


def update(tokens: Tensor) -> dict[str, Way]:
    """Clipping at half the norm and Adam, fused, from the gradient of the table as each way leaves it."""
    usual = nn.Embedding(ROWS, DIMENSION, padding_idx=0)
    ours = WordVectors(usual.weight.detach().clone(), trainable=True)
    ours.gradient_by_rows = True
    optimizers = {part: torch.optim.Adam(part.parameters(), 1e-3, fused=True) for part in (usual, ours)}
    for part in (usual, ours):
        part(tokens).square().sum().backward()
    rows, whole = ours.weight.grad, usual.weight.grad
    assert rows is not None
    assert whole is not None
    limit = float(whole.norm()) / 2

    def usual_way() -> None:
        usual.weight.grad = whole
        nn.utils.clip_grad_norm_([usual.weight], limit)
        optimizers[usual].step()

    def our_way() -> None:
        ours.weight.grad = rows
        clip_gradients([rows._values()], limit)
        ours.spread_gradient()
        optimizers[ours].step()

    return {"usual": usual_way, "ours": our_way}


def milliseconds(ways: dict[str, Way], repetitions: int) -> dict[str, list[float]]:
    """Of each way, turn by turn; the first three turns warm up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions + 3):
        for name, way in ways.items():
            began = time.process_time()
            way()
            taken[name].append((time.process_time() - began) * 1e3)
    return {name: times[3:] for name, times in taken.items()}


def main(repetitions: int) -> None:
    """Print a line for each part."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tokens, lengths = tokens_and_lengths()
    parts = {"look-up, dropout, their gradient": words(tokens), "clipping, Adam": update(tokens)}
    parts |= {f"pooling={name} and its gradient": pooling(name, lengths) for name in ("mean", "max", "last")}
    print(f"native look-up: {native_lookup.available()}; milliseconds of processor, median (smallest) of {repetitions}")
    for name, ways in parts.items():
        taken = milliseconds(ways, repetitions)
        shown = [f"{way} {np.median(times):7.2f} ({min(times):6.2f})" for way, times in taken.items()]
        print(f"{name:<34} {'   '.join(shown)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
