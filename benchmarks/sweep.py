"""What a sweep costs beside its runs: tiny runs in sweeps against the same runs in bare processes, one after the other.

usage: python benchmarks/sweep.py [RUNS, 100] [BLOCKS, 4]

Runs are so small that process start, planning and records are most of what there is. They are carried out in blocks: a
block of seeds by one sweep, then the same seeds by bare `python -m bench` processes, then by a sweep with
`hydra.launcher.warm=false`, and so on, so that a busy moment of the machine meets all of them alike. Each block pays
for a sweep's start anew, which one sweep of all runs would pay once: the ratio is an upper bound of that sweep's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.runs.record import RunRecord
from bench.runs.store import RECORD

LIMIT = 1.15  # a run in a sweep may take this many times as long as one in a bare process
TINY = [
    "training.epochs=1", "training.batch_size=100000", "data.max_length=8", "model.hidden_size=8",
    "embedding.dimension=8", "logger=none", "keep=none", "hardware=cpu",
]  # fmt: skip
COLD = "hydra.launcher.warm=false"


@dataclass
class Cost:
    """Seconds that a way to carry out runs has taken so far. runs: within them, as the records say."""

    total: float = 0.0
    plan: float = 0.0  # until the plan was shown
    first: float = 0.0  # from then until the first run was under way
    runs: float = 0.0
    count: int = 0

    def __iadd__(self, other: Cost) -> Cost:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


def bare(seeds: range, results: Path) -> Cost:
    """Each seed in a process of its own, as from the shell."""
    began = time.perf_counter()
    for seed in seeds:
        command = [sys.executable, "-m", "bench", *TINY, f"seed={seed}", f"results={results}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Cost(total=time.perf_counter() - began, runs=inside(results, seeds), count=len(seeds))


def sweep(seeds: range, results: Path, *more: str) -> Cost:
    """All seeds in one sweep, one at a time."""
    grid = f"seed={','.join(map(str, seeds))}"
    command = [sys.executable, "-u", "-m", "bench", "-m", *TINY, grid, f"results={results}", "hydra.launcher.workers=1"]
    began, cost = time.perf_counter(), Cost(count=len(seeds))
    with subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[1/") and not cost.plan:
                cost.plan = time.perf_counter() - began
            elif line.startswith("GRU on") and not cost.first:
                cost.first = time.perf_counter() - began - cost.plan
    if process.returncode:
        raise SystemExit(f"the sweep ended with exit code {process.returncode}")
    cost.total, cost.runs = time.perf_counter() - began, inside(results, seeds)
    return cost


def inside(results: Path, seeds: range) -> float:
    """Seconds within the runs: data, training, evaluation; without imports, configuration and exit."""
    records = [RunRecord.from_json(path.read_text()) for path in results.glob(f"runs/*/*/{RECORD}")]
    return sum(record.wall_seconds or 0.0 for record in records if record.seed in seeds)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    blocks = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    costs: defaultdict[str, Cost] = defaultdict(Cost)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare(range(runs, runs + 1), folder / "first")  # fills file and corpus caches
        for block in range(blocks):
            seeds = range(runs * block // blocks, runs * (block + 1) // blocks)
            costs["sweep"] += sweep(seeds, folder / "sweep")
            costs["bare processes"] += bare(seeds, folder / "bare")
            costs[f"sweep, {COLD.rpartition('.')[2]}"] += sweep(seeds, folder / "cold", COLD)
    print(f"{runs} runs in {blocks} blocks; seconds a run, all of it and its parts")
    print(f"{'':<22}{'total':>8}{'plan':>8}{'first':>8}{'run':>8}{'rest':>8}{'ratio':>8}")
    reference = costs["bare processes"]
    for label, cost in costs.items():
        rest = cost.total - cost.plan - cost.first - cost.runs
        parts = [value / cost.count for value in (cost.total, cost.plan, cost.first, cost.runs, rest)]
        print(f"{label:<22}" + "".join(f"{part:8.2f}" for part in parts) + f"{cost.total / reference.total:8.2f}")
    print("plan: until the first run may start, a share of it a run;  first: until that run has begun to train;")
    print(
        "run: data, training, evaluation;  rest: imports where they are made for each run, configuration, records, exit"
    )
    if costs["sweep"].total > LIMIT * reference.total:
        raise SystemExit(f"a run in a sweep takes more than {LIMIT:g} times as long as in a bare process")


if __name__ == "__main__":
    main()
