"""How long `python -m bench status` takes over many runs, process start included: with an index and without one.

Beside the time, the processor's: on a busy machine the first is as long as the others let it be.

python benchmarks/status.py [number of runs, 10000]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.analysis.simulation import template
from bench.compose import compose
from bench.runs.environment import describe_machine
from bench.runs.store import RECORD, Store
from bench.sweeps.plan import PLAN_SCHEMA_VERSION
from bench.sweeps.status.estimate import estimate
from bench.sweeps.status.state import Snapshot

LIMIT = 1.0  # seconds, with an index
REPETITIONS = 7
ARMS = 200
MISSING = 1000
NEW = 20  # records since the index was written, as while a sweep is at work


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        store = Store(name)
        store.prepare()
        finish(store, range(runs - NEW))
        plan(store, runs + MISSING)
        where = f"results={name}"
        cold = [taken("status", where)]
        warm = [taken("status", where) for _ in range(REPETITIONS)]
        one = [taken("status", where, "sweep=question") for _ in range(REPETITIONS)]
        finish(store, range(runs - NEW, runs))
        fresh = [taken("status", where, "--json") for _ in range(REPETITIONS)]
        told = json.loads(output("status", where, "--json"))["questions"][0]["counts"]
        assert (told["finished"], told["missing"]) == (runs, MISSING)
        snapshot = Snapshot(store)
        missing = [member for member in snapshot.question("question").members.all if int(member.run_id, 16) >= runs]
        began = time.perf_counter()
        left = estimate(missing, snapshot.records, at_a_time=2)
        estimated = time.perf_counter() - began
        assert left.seconds == MISSING * 60.0 / 2
    measured = {"no index": cold, "warm index": warm, "one question": one, f"{NEW} new records, --json": fresh}
    print(f"finished runs {runs}, missing {MISSING}")
    for label, times in measured.items():
        wall, processor = zip(*times, strict=True)
        print(
            f"{label:<26}{statistics.median(wall):6.2f} s   {min(wall):.2f} to {max(wall):.2f}, n={len(wall)}"
            f"   processor {statistics.median(processor):.2f} s"
        )
    print(f"{f'estimate of {len(missing)} runs':<26}{estimated:6.2f} s")
    if min(min(wall, processor) for wall, processor in warm) > LIMIT:
        raise SystemExit("status is too slow")


def finish(store: Store, numbers: range) -> None:
    """Records of this machine."""
    machine = describe_machine()
    like = replace(
        template(compose([])), cpu_model=machine.cpu_model, cpu_cores=machine.cpu_cores, packages=machine.packages
    )
    record = json.loads(like.to_json())
    for number in numbers:
        begun = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=75 * number)
        identity = {"run_id": f"{number:012x}", "execution_id": f"{begun:%Y%m%dT%H%M%S}-{number % 16**6:06x}"}
        changes = {"arm": arm(number), "seed": number // ARMS, "started_at": begun.isoformat(), "wall_seconds": 60.0}
        folder = store.folder(**identity)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(json.dumps({**record, **identity, **changes}), encoding="utf-8")


def plan(store: Store, runs: int) -> None:
    """A question that wants them all."""
    members = [
        {
            "run_id": f"{number:012x}", "pair_key": f"{number:012x}", "arm": arm(number), "seed": number // ARMS,
            "overrides": [
                f"data=corpus-{number % ARMS}", "model=gru", "embedding=random", "recipe=default",
                "model.match=width", f"seed={number // ARMS}", "sweep.member=true", "sweep.name=question",
            ],
        }
        for number in range(runs)
    ]  # fmt: skip
    tree = {"schema_version": PLAN_SCHEMA_VERSION, "name": "question", "arguments": [], "members": members}
    folder = Path(store.results, "sweeps", "question")
    folder.mkdir(parents=True)
    (folder / "plan-00000000.json").write_text(json.dumps(tree, indent=1), encoding="utf-8")


def arm(number: int) -> str:
    return f"corpus-{number % ARMS}/random/gru-128-mean/{number % ARMS:06x}"


def taken(*arguments: str) -> tuple[float, float]:
    """Seconds, and seconds of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output(*arguments)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def output(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
