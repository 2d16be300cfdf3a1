"""How long a person waits: for the help, and from the command to the first training step on cached data.

usage: python benchmarks/startup.py [REPETITIONS]

Everything is measured from outside, in fresh processes, interleaved so that a busy moment of the machine meets all of
them alike; medians are printed. An epoch of the measured run is one step over short texts, so its first line of
progress follows the first step by one short evaluation.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

LIMIT = 5.0  # help may take this many times as long as `import hydra`
FIRST_STEP = [
    "training.epochs=1", "training.batch_size=100000", "data.max_length=8", "logger=none", "keep=none", "force=true",
]  # fmt: skip


def until_end(*arguments: str) -> float:
    """Seconds until a Python process has ended."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def until_first_step(results: str) -> float:
    """Seconds from the command to the first line of progress of one run."""
    command = [sys.executable, "-m", "bench", *FIRST_STEP, f"results={results}"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1/1"):
                took = time.perf_counter() - began
                process.stdout.read()
                return took
    raise SystemExit("the run showed no progress")


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as results:
        measured: dict[str, Callable[[], float]] = {
            "import hydra": lambda: until_end("-c", "import hydra"),
            "bench --help": lambda: until_end("-m", "bench", "--help"),
            "import torch, pytorch_lightning": lambda: until_end("-c", "import torch, pytorch_lightning"),
            "bench, to the first training step": lambda: until_first_step(results),
        }
        for measure in measured.values():
            measure()  # fills file and corpus caches
        seconds = {name: list[float]() for name in measured}
        for _ in range(repetitions):
            for name, measure in measured.items():
                seconds[name].append(measure())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<36}{median:7.2f} s   {min(seconds[name]):.2f} to {max(seconds[name]):.2f}, n={repetitions}")
    hydra, help_, imports, first_step = medians.values()
    print(f"help is {help_ / hydra:.2f} times bare `import hydra` (limit {LIMIT:g})")
    print(
        f"the first step comes {first_step - imports:.2f} s after the bare imports ({first_step / imports:.2f} times)"
    )
    if help_ / hydra > LIMIT:
        raise SystemExit("help is too slow")


if __name__ == "__main__":
    main()
