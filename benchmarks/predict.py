"""How many short texts a second `python -m bench predict` labels, once it has begun.

usage: python benchmarks/predict.py [REPETITIONS] [KEY=VALUE ...]

Trains the default GRU for one epoch (further keys change the run), then labels sentences of the training texts, of 5 to
30 words, in three ways, interleaved: `predict < FILE` as a process, the same through a pipe that `cat` fills, and
`trained.predict` in this process. Beside them stands the process for one text: what it takes to import torch and load
the run, which the speeds leave out. Speeds depend on the machine: the limit is that of two cores with nothing else to
do.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
from bench.compose import compose
from bench.data.sources import open_corpus
from bench.runs.trained import TrainedRun

TEXTS = 20_000
LIMIT = 2_000  # texts a second, for the default GRU on two cores
SHORTEST, LONGEST = 5, 30  # words


def sentences(overrides: list[str]) -> list[str]:
    """Short texts, taken from the training texts and repeated as often as it takes."""
    corpus = open_corpus(compose(overrides).data)
    found = [
        sentence
        for text in corpus.splits["train"].texts
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        if SHORTEST <= len(sentence.split()) <= LONGEST
    ]
    return (found * (TEXTS // len(found) + 1))[:TEXTS]


def by_process(command: str, folder: Path, expected: int = TEXTS) -> float:
    """Seconds from beginning to end. command: for a shell, in the folder of the results;  expected: answers."""
    began = time.perf_counter()
    done = subprocess.run(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - began
    if done.stdout.count(b"\n") != expected:
        raise SystemExit(f"{command}: not {expected} answers")
    return seconds


def in_process(trained: TrainedRun, texts: list[str]) -> float:
    """Seconds where everything is loaded."""
    began = time.perf_counter()
    trained.predict(texts)
    return time.perf_counter() - began


def measure(overrides: list[str], folder: Path, repetitions: int) -> dict[str, list[float]]:
    """Seconds of every way, interleaved."""
    record = bench.run(overrides)
    texts = sentences(overrides)
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    trained = bench.load(record.run_id, folder / "results")
    trained.predict(texts[:300])
    predict = f"{sys.executable} -m bench predict {record.run_id}"
    ways = {
        "one text": lambda: by_process(f"head -n 1 texts.txt | {predict}", folder, expected=1),
        "from a file": lambda: by_process(f"{predict} < texts.txt", folder),
        "through a pipe": lambda: by_process(f"cat texts.txt | {predict}", folder),
        "in this process": lambda: in_process(trained, texts),
    }
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"{TEXTS:,} texts of {words:.1f} words in the mean, {record.arm}; load {os.getloadavg()[0]:.1f}")
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, timed in ways.items():
            times[way].append(timed())
    return times


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    asked = sys.argv[2:]
    with tempfile.TemporaryDirectory() as name:
        results = Path(name) / "results"
        times = measure(["training.epochs=1", "logger=none", *asked, f"results={results}"], Path(name), repetitions)
    start = statistics.median(times.pop("one text"))
    print(f"one text takes {start:.2f} s, start included")
    slow = False
    for way, seconds in times.items():
        before = 0.0 if way == "in this process" else start
        middle, least, most = (TEXTS / (of(seconds) - before) for of in (statistics.median, max, min))
        slow = slow or middle < LIMIT
        print(f"{way:<18}{middle:>9,.0f} texts/s   {least:,.0f} to {most:,.0f}, n={repetitions}")
    print(f"limit {LIMIT:,} texts/s for the default GRU on two cores; load {os.getloadavg()[0]:.1f}")
    if slow and not asked:
        raise SystemExit("labelling is too slow, or the machine is busy")


if __name__ == "__main__":
    main()
