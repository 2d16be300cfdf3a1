"""How long a sweep of 1,000 finished runs takes to find out that there is nothing to do, typed at the door.

usage: python benchmarks/plan.py [REPETITIONS]

`python -m bench -m … dry_run=true` in fresh processes, from the command to its end: a new plan, with nothing remembered
of compositions, corpora and records, and one that has been made before. 2 cells × 2 directions × 5 corpora × 5 learning
rates × 10 seeds; where BENCH_DATA names no folder of corpora, 5 lengths of the bundled one. Run it on a quiet machine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.compose import session
from bench.runs.assemble import make_record
from bench.runs.store import RECORD, Store
from bench.sweeps.grid import expand
from bench.sweeps.planner import Planner

NEW_SECONDS, STORED_SECONDS = 10.0, 2.0
NAME = "thousand"
GRID = [
    "model=gru,lstm", "model.bidirectional=false,true", "training.learning_rate=0.001,0.002,0.003,0.004,0.005",
    "seed=range(10)", f"sweep.name={NAME}",
]  # fmt: skip
CORPORA = ["data=bbc_news,sst2,trec6,mr,cr"] if os.environ.get("BENCH_DATA") else ["data.max_length=16,32,64,128,256"]
MEASURED = {
    "status": "finished", "hardware_key": "this machine", "train_seconds": 20.5, "wall_seconds": 31.0,
    "test_accuracy": 0.9, "validation_accuracy": 0.91, "test_confusion": [[100, 1, 2, 3, 4]] * 5,
    "validation_curve": [[2.5 * epoch, 0.8] for epoch in range(8)], "test_correct": "A" * 400,
    "packages": {f"package-{number}": "1.2.3" for number in range(9)},
}  # fmt: skip


def finish_all(arguments: list[str], store: Store) -> None:
    """Write a record of realistic size for every run of the grid."""
    with session(arguments) as hydra:
        plan = Planner(NAME, arguments, store).plan(expand(arguments, {}, hydra.config_loader))
    for member in plan.members:
        record = make_record(member, datetime.now(UTC), dict(MEASURED))
        folder = store.folder(record.run_id, record.execution_id)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(record.to_json(), encoding="utf-8")


def seconds(arguments: list[str]) -> float:
    """From the command to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "-m", *arguments, "dry_run=true"], capture_output=True, text=True, check=True
    )
    took = time.perf_counter() - began
    total = next(line for line in done.stdout.splitlines() if "total" in line)
    assert [word for word in total.split() if word.isdigit()][:3] == ["1000", "1000", "0"], done.stdout
    return took


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        results, cache = Path(folder) / "results", Path(folder) / "cache"
        os.environ["BENCH_CACHE"] = str(cache)
        arguments = [*GRID, *CORPORA, f"results={results}"]
        finish_all(arguments, Store(results))
        taken: dict[str, list[float]] = {"a new plan": [], "a stored plan": []}
        for _ in range(repetitions):
            shutil.rmtree(cache, ignore_errors=True)
            (results / "index.parquet").unlink(missing_ok=True)
            for times in taken.values():
                times.append(seconds(arguments))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for (name, median), limit in zip(medians.items(), (NEW_SECONDS, STORED_SECONDS), strict=True):
        times = taken[name]
        print(f"{name:<16}{median:6.2f} s  (limit {limit:g})   {min(times):.2f} to {max(times):.2f}, n={repetitions}")
    if medians["a new plan"] > NEW_SECONDS or medians["a stored plan"] > STORED_SECONDS:
        raise SystemExit("planning is too slow")


if __name__ == "__main__":
    main()
