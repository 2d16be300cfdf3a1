"""Whether a duel says the same twice: repeated duels, each a process of its own, and how many of their intervals
contain the ratio of all of them pooled.

python benchmarks/duels.py [number of duels, 20] [seconds of measuring each, 12] [--keep FOLDER] [KEY=VALUE ...]

Duels that call themselves disturbed are not counted: they tell of a machine of which others had a part. They are
repeated, up to three times as many duels as asked for. Prints a row for each ratio and each way to make an interval;
exits 1 if the way that the program uses (`bench.analysis.duels`) contains the pooled ratio in fewer than nine of ten
duels. Further overrides go to every duel. FOLDER keeps their turns, and those that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from bench.analysis.duel_meetings import Floats, Key, Meeting, meetings
from bench.analysis.duels import interval
from bench.compose import compose
from bench.duels.plan import make_plan
from bench.processor import limit_spinning
from bench.runs.identity import resolve

DUEL = [
    "data=bbc_news", "duel.lengths=[64]", "duel.batch_sizes=[32]", "duel.widths=[128]",
    "duel.matchings=[width]", "duel.repetitions=8", "hardware=cpu",
]  # fmt: skip
RATIOS: dict[str, tuple[Key, Key]] = {
    "gru/lstm, torch": (("gru", "torch", 128), ("lstm", "torch", 128)),
    "gru/lstm, step": (("gru", "step", 128), ("lstm", "step", 128)),
    "gru, step/torch": (("gru", "step", 128), ("gru", "torch", 128)),
    "lstm, step/torch": (("lstm", "step", 128), ("lstm", "torch", 128)),
}
Estimator = Callable[[Meeting, Key, Key], Floats]
Bounds = tuple[float, float]


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        measure(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("duels", nargs="?", type=int, default=20)
    parser.add_argument("seconds", nargs="?", type=float, default=12.0)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        words = [f"duel.seconds={given.seconds}", *given.words]
        tried = repeated(3 * given.duels, folder, words)
        found = list(islice((meeting for meeting in tried if not meeting.disturbed), given.duels))
    print(f"{len(found)} duels were undisturbed", flush=True)
    rows = [row for name, pair in RATIOS.items() for row in coverage(name, found, *pair)]
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    used = [row for row in rows if (row["estimate"], row["interval"]) == ("median of ratios", "t")]
    if any(float(str(row["contain"])) < 0.9 * given.duels for row in used):
        sys.exit("too few intervals contain the pooled ratio")


def repeated(duels: int, folder: Path, words: list[str]) -> Iterator[Meeting]:
    """Each duel in a process of its own, with a seed of its own."""
    for number in range(duels):
        path = folder / f"{number}.parquet"
        if not path.exists():
            subprocess.run([sys.executable, __file__, "one", str(number), str(path), *words], check=True)
        (meeting,) = meetings(pd.read_parquet(path))
        told = [f"{name} {_written(interval(meeting.log_ratios(*pair)))}" for name, pair in RATIOS.items()]
        kept = f"{len(meeting.seconds)} rounds{', disturbed' if meeting.disturbed else ''}"
        print(f"duel {number}: {kept}; {'; '.join(told)}", flush=True)
        yield meeting


def measure(seed: int, path: Path, words: list[str]) -> None:
    """One duel; its turns go to a file."""
    limit_spinning()
    import torch

    from bench.data.module import prepare
    from bench.duels.engine import Duel
    from bench.duels.table import turns_table
    from bench.embeddings.table import build_table
    from bench.runs.trainer import borrowed_torch

    overrides = [*DUEL, *words, f"seed={seed}"]
    runs = {name: resolve(compose([f"model={name}", *overrides])) for name in ("gru", "lstm")}
    config = runs["gru"].config
    plan = make_plan(runs, config.duel)
    data = prepare(plan.first.corpus, config.data, seed)
    words_of, counts = data.vocabulary.words, data.vocabulary.counts
    table = build_table(config.embedding, words_of, counts, plan.first.vectors, seed)
    with borrowed_torch(config.hardware):
        duel = Duel(plan, data, torch.from_numpy(table.values), torch.device("cpu"))
        duel.prepare()
        for number in range(config.duel.repetitions):
            duel.repetition(number)
    turns_table(duel.turns).to_parquet(path)


def _written(bounds: tuple[float, float, float]) -> str:
    ratio, low, high = bounds
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"


def coverage(name: str, found: list[Meeting], first: Key, second: Key) -> Iterator[dict[str, object]]:
    """How often each interval contains the pooled ratio, and how wide it is."""
    for estimate, log_ratios in ESTIMATORS.items():
        logs = [log_ratios(meeting, first, second) for meeting in found]
        pooled = float(np.mean([np.mean(one) for one in logs]))
        between, within = (
            float(np.std([np.mean(one) for one in logs], ddof=1)),
            float(np.mean([np.std(one, ddof=1) for one in logs])),
        )
        for kind, bounds_of in INTERVALS.items():
            bounds = [bounds_of(one) for one in logs]
            yield {
                "ratio": name, "estimate": estimate, "interval": kind, "pooled": math.exp(pooled), "duels": len(found),
                "contain": sum(low <= pooled <= high for low, high in bounds),
                "median width, %": 100 * float(np.median([high - low for low, high in bounds])),
                "sd of duels, %": 100 * between, "sd of repetitions, %": 100 * within,
            }  # fmt: skip


def median_of_ratios(meeting: Meeting, first: Key, second: Key) -> Floats:
    """The program's: the median over the rounds of a repetition."""
    return meeting.log_ratios(first, second)


def ratio_of_medians(meeting: Meeting, first: Key, second: Key) -> Floats:
    medians = meeting.seconds.groupby(level="repetition").median()
    return np.asarray(np.log(medians[first]) - np.log(medians[second]), np.float64)


def ratio_of_sums(meeting: Meeting, first: Key, second: Key) -> Floats:
    sums = meeting.seconds.groupby(level="repetition").sum()
    return np.asarray(np.log(sums[first]) - np.log(sums[second]), np.float64)


def ratio_of_fastest(meeting: Meeting, first: Key, second: Key) -> Floats:
    fastest = meeting.seconds.groupby(level="repetition").min()
    return np.asarray(np.log(fastest[first]) - np.log(fastest[second]), np.float64)


def student(logs: Floats) -> Bounds:
    """The program's: Student's t over repetitions."""
    _, low, high = interval(logs)
    return math.log(low), math.log(high)


def bootstrap(logs: Floats) -> Bounds:
    """Percentiles of resampled means."""
    draws = np.random.default_rng(0).choice(logs, (2000, len(logs))).mean(axis=1)
    return float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))


def bias_corrected(logs: Floats) -> Bounds:
    """BCa (Efron 1987)."""
    found = stats.bootstrap((logs,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


ESTIMATORS: dict[str, Estimator] = {
    "median of ratios": median_of_ratios, "ratio of medians": ratio_of_medians, "ratio of sums": ratio_of_sums,
    "ratio of fastest": ratio_of_fastest,
}  # fmt: skip
INTERVALS: dict[str, Callable[[Floats], Bounds]] = {"t": student, "bootstrap": bootstrap, "BCa": bias_corrected}

if __name__ == "__main__":
    main()
