"""How many short texts a second `python -m bench predict` labels, from the first line in to the last line out.

usage: python benchmarks/predict.py [REPETITIONS] [KEY=VALUE ...]

Trains the default GRU for one epoch (further keys change the run), then labels sentences of the training texts, of 5 to
30 words, in three ways, interleaved: `predict < FILE` as a process, the same through a pipe that `cat` fills, and
`trained.predict` in this process. The processes are timed from their first answer, which comes when everything is
imported and loaded, to the end; what is before that is shown beside it. Speeds depend on the machine: the limit is that
of two cores with nothing else to do.
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


def by_process(command: str, folder: Path) -> tuple[float, float]:
    """Seconds until the first answer, and from there to the end. command: for a shell, in the folder of the results."""
    began = time.perf_counter()
    with subprocess.Popen(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter()
        answers = 1 + sum(1 for _ in process.stdout)
        last = time.perf_counter()
    if answers != TEXTS:
        raise SystemExit(f"{answers} answers to {TEXTS} texts")
    return first - began, last - first


def in_process(trained: TrainedRun, texts: list[str]) -> tuple[float, float]:
    """The same with everything loaded: nothing before the first answer."""
    began = time.perf_counter()
    trained.predict(texts)
    return 0.0, time.perf_counter() - began


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    asked = sys.argv[2:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overrides = ["training.epochs=1", "logger=none", *asked, f"results={folder / 'results'}"]
        record = bench.run(overrides)
        texts = sentences(overrides)
        (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        trained = bench.load(record.run_id, folder / "results")
        trained.predict(texts[:300])
        predict = f"{sys.executable} -m bench predict {record.run_id}"
        ways = {
            "from a file": lambda: by_process(f"{predict} < texts.txt", folder),
            "through a pipe": lambda: by_process(f"cat texts.txt | {predict}", folder),
            "in this process": lambda: in_process(trained, texts),
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repetitions):
            for way, measure in ways.items():
                times[way].append(measure())
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"{TEXTS:,} texts of {words:.1f} words in the mean, {record.arm}; load {os.getloadavg()[0]:.1f}")
    speeds = {}
    for way, seconds in times.items():
        speeds[way] = TEXTS / statistics.median(after for _, after in seconds)
        before = statistics.median(first for first, _ in seconds)
        slowest, fastest = (TEXTS / extreme(after for _, after in seconds) for extreme in (max, min))
        print(f"{way:<18}{speeds[way]:>9,.0f} texts/s   {slowest:,.0f} to {fastest:,.0f}   first answer {before:.2f} s")
    print(f"n={repetitions}; limit {LIMIT:,} texts/s for the default GRU on two cores; load {os.getloadavg()[0]:.1f}")
    if not asked and min(speeds.values()) < LIMIT:
        raise SystemExit("labelling is too slow, or the machine is busy")


if __name__ == "__main__":
    main()
