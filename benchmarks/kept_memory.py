"""What it gains to keep freed memory in the process: glibc's allocator as it is, and told to return nothing.

usage: python benchmarks/kept_memory.py [--turns 5] [LENGTH,BATCH,EMBEDDING,HIDDEN ...]

By default glibc maps every large tensor anew and returns it to the system when it is freed, so each training step pays
for fresh, zeroed pages. Fresh processes take turns, one with `bench.processor.keep_freed_memory` and one without; in
each, GRU and LSTM take training steps under both executions in turns (embedding look-up, recurrence, mean, output,
loss, backward pass and Adam). Printed are the medians over processes of the median step, and the median of the ratios
of neighbouring processes with their range.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median

SHAPES = ["205,64,100,128", "200,64,300,256"]
CONTESTANTS = [(cell, kernel) for cell in ("gru", "lstm") for kernel in ("torch", "step")]
STEPS, WARMUP = 12, 3
ROWS, CLASSES = 25_002, 2


def steps_of(shape: str, keeps: bool) -> dict[str, float]:
    """Median seconds of a training step of each contestant, in this process."""
    from bench.processor import keep_freed_memory, limit_spinning

    limit_spinning()
    if keeps and not keep_freed_memory():
        sys.exit("kept_memory.py: this system's allocator cannot be told (it is not glibc)")
    import torch
    from training_step import TrainingStep

    from bench.compose import compose
    from bench.models.encoder import TextClassifier

    length, batch, dimension, hidden = map(int, shape.split(","))
    draw = torch.Generator().manual_seed(0)
    tokens, labels = torch.randint(2, ROWS, (batch, length), generator=draw), torch.arange(batch) % CLASSES
    steps: dict[str, TrainingStep] = {}
    for cell, kernel in CONTESTANTS:
        model = compose([f"model={cell}", "model.pooling=mean", "model.dropout=0"]).model
        vectors = torch.randn(ROWS, dimension, generator=draw)
        network = TextClassifier(model, hidden, vectors, trainable_vectors=True, classes=CLASSES, seed=0, kernel=kernel)
        steps[f"{cell} {kernel}"] = TrainingStep(network, tokens, labels)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARMUP + STEPS):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(found[WARMUP:]) for name, found in seconds.items()}


def measured(shape: str, keeps: bool) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--child", str(int(keeps)), shape]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Take turns; print a row a contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("shapes", nargs="*", default=SHAPES, help="LENGTH,BATCH,EMBEDDING,HIDDEN")
    parser.add_argument("--turns", type=int, default=5, help="pairs of processes for each shape")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(steps_of(options.shapes[0], bool(options.child))))
        return
    print(f"{'shape':<18} {'contestant':<12} {'as it is':>9} {'kept':>9}   kept / as it is (range)")
    for shape in options.shapes:
        pairs = [(measured(shape, False), measured(shape, True)) for _ in range(options.turns)]
        for name in pairs[0][0]:
            plain, kept = ([found[name] * 1e3 for found in side] for side in zip(*pairs, strict=True))
            ratios = sorted(after / before for before, after in zip(plain, kept, strict=True))
            print(
                f"{shape:<18} {name:<12} {median(plain):>6.1f} ms {median(kept):>6.1f} ms   "
                f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
