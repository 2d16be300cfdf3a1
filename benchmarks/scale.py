"""How time and memory grow with texts, length, width and depth, beside how the arithmetic grows.

usage: python benchmarks/scale.py [--quick] [--only texts,length,width,depth] [--costs time,memory] [--seconds 60] ...

`texts`: encoding, preparing and the batches of one epoch, for generated corpora of 1,000 to 1,000,000 texts, each time
in a fresh process (benchmarks/streaming.py). The others: one training step (forward, backward, clipping, optimiser) of
GRU and LSTM under both executions, and of the baselines against length. Contestants and sizes take turns in one
process, so that a busy moment meets all alike; memory is the peak of a step above what lay there before it, each in a
fresh process.

An exponent is the slope of log cost over log size. That of the arithmetic is of the operations of a step's matrix
products (for bag: of the values that it reads), and for memory of the values that its backward pass reads and of its
gradients. The exit code is 1 where anything grows faster than its arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from scaling.growth import HEADER, Growth
from scaling.ladders import LADDERS, QUICK_TEXTS, TEXTS, Ladder, bytes_held, operations
from streaming import in_fresh_process

from bench.processor import limit_spinning

TEXT_COSTS = {"time, prepare": "prepare_seconds", "time, batches of an epoch": "epoch_seconds", "memory": "memory_mib"}


def times_of(ladder: Ladder, quick: bool, seconds: float) -> Iterator[Growth]:
    """Of training steps in one process, interleaved."""
    measured = json.loads(child("time", ladder.key, str(int(quick)), str(seconds)))
    sizes = ladder.sizes(quick)
    for place, contestant in enumerate(ladder.contestants):
        costs = tuple(tuple(turn[place]) for turn in measured)
        arithmetic = tuple(operations(contestant, size) for size in sizes.values())
        yield Growth(f"time, {contestant}", "ms", tuple(sizes), costs, arithmetic, scale=1e3)


def memory_of(ladder: Ladder, quick: bool) -> Iterator[Growth]:
    """Of one training step, each in a process of its own."""
    sizes = ladder.sizes(quick)
    for place, contestant in enumerate(ladder.contestants):
        costs = tuple(float(child("memory", ladder.key, str(place), str(step))) for step in sizes)
        arithmetic = tuple(bytes_held(contestant, size) for size in sizes.values())
        yield Growth(f"memory, {contestant}", "MiB", tuple(sizes), (costs,), arithmetic, scale=2**-20)


def of_texts(quick: bool, repetitions: int) -> Iterator[Growth]:
    """Encoding, preparing and the batches of one epoch; arithmetic: as many operations as texts, all equally long."""
    sizes = QUICK_TEXTS if quick else TEXTS
    with tempfile.TemporaryDirectory() as folder:
        measured = [[prepared(Path(folder), texts, number) for texts in sizes] for number in range(repetitions)]
    for name, key in TEXT_COSTS.items():
        costs = tuple(tuple(took[key] for took in repetition) for repetition in measured)
        unit = "MiB" if name == "memory" else "s"
        yield Growth(name, unit, sizes, costs, tuple(map(float, sizes)))


def prepared(folder: Path, texts: int, number: int) -> dict[str, float]:
    """What preparing a corpus takes, into an empty cache; the corpus is written where it is not there yet."""
    place = folder / str(texts) / "corpus"
    if not place.exists():
        place.mkdir(parents=True)
        in_fresh_process("write", str(place / "train.parquet"), str(texts))
    took, together = in_fresh_process("measure", str(place), BENCH_CACHE=str(folder / str(texts) / f"cache-{number}"))
    return took | {"memory_mib": max(together, took["peak_mib"])}


def child(*arguments: str) -> str:
    """What a fresh process prints that carries out a part of this."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def measured(options: argparse.Namespace) -> Iterator[tuple[str, Growth]]:
    """Every row, with the key that it grows along."""
    for key in options.only.split(","):
        if key == "texts":
            yield from ((key, row) for row in of_texts(options.quick, repetitions=2 if options.quick else 3))
        else:
            if "time" in options.costs:
                yield from ((key, row) for row in times_of(LADDERS[key], options.quick, options.seconds))
            if "memory" in options.costs:
                yield from ((key, row) for row in memory_of(LADDERS[key], options.quick))


def main(typed: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where anything grows faster than its arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, and no million of texts")
    parser.add_argument("--only", default="texts,length,width,depth", help="which of these, separated by commas")
    parser.add_argument("--costs", default="time,memory", help="of training steps: which of these")
    parser.add_argument("--seconds", type=float, default=60, help="of timing steps, for each of length, width, depth")
    parser.add_argument("--json", type=Path, help="JSON Lines file to append the measurements to")
    options = parser.parse_args(typed)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; exponents with 95% intervals over repetitions")
    rows, along = [], ""
    for key, row in measured(options):
        if key != along:
            print(f"\n{HEADER}\nagainst {key}:")
            along = key
        rows.append(row)
        print(row.line(), flush=True)
        if options.json:
            with options.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"along": key, **vars(row)}) + "\n")
    faster = [row for row in rows if not row.holds]
    print(f"\nload {os.getloadavg()[0]:.1f}; {len(faster)} of {len(rows)} grow faster than their arithmetic")
    return int(bool(faster))


def at_work(what: str, key: str, *rest: str) -> str:
    """In a child: a part that needs torch, and what it prints."""
    limit_spinning()
    from scaling import steps
    from training_step import weight

    ladder = LADDERS[key]
    if what == "time":
        return json.dumps(steps.turns(ladder, bool(int(rest[0])), float(rest[1])))
    step = int(rest[1])
    size = {**ladder.sizes(True), **ladder.sizes(False)}[step]
    return str(weight(partial(steps.step_of, ladder.contestants[int(rest[0])], size)))


if __name__ == "__main__":
    if sys.argv[1:2] in (["time"], ["memory"]):
        print(at_work(*sys.argv[1:]))
    else:
        sys.exit(main())
