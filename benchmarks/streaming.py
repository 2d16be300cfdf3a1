"""How much memory a large corpus takes, from its file to the batches of an epoch, and how fast it gets there.

usage: python benchmarks/streaming.py [TEXTS ...]   (10000 100000 1000000 without any)

Writes generated texts of 30 words to a temporary folder as Parquet, in a single row group, which is the hardest to
stream; the smaller corpora as JSON lines and CSV as well. A fresh process then finds the corpus, prepares it
(vocabulary, validation split, flat arrays) and draws all training batches of one epoch, without a model. Memory is the
peak resident set of that process, the import of torch included; `all` is the largest sum seen over it and its worker
processes, in which what they share is counted once (proportional set size, looked at five times a second).
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

SIZES = [10_000, 100_000, 1_000_000]
TEXT_FORMATS_UP_TO = 100_000
LIMIT_MIB = 1024
WORDS, VOCABULARY, PIECE = 30, 50_000, 10_000


def pieces(texts: int) -> Iterator[tuple[list[str], list[int]]]:
    """Texts whose words are as unevenly frequent as in a language (Zipf), and labels."""
    random = np.random.default_rng(0)
    words = np.array([f"word{number:05d}" for number in range(VOCABULARY)], object)
    for start in range(0, texts, PIECE):
        size = min(PIECE, texts - start)
        ranks = VOCABULARY ** random.random((size, WORDS))
        yield [" ".join(row) for row in words[ranks.astype(int) - 1].tolist()], random.integers(0, 4, size).tolist()


def write_parquet(path: Path, texts: int) -> None:
    """All in one row group."""
    tables = [pa.table({"text": lines, "label": labels}) for lines, labels in pieces(texts)]
    pq.write_table(pa.concat_tables(tables), path, row_group_size=texts)


def write_csv(path: Path, texts: int) -> None:
    """A header and a row a text."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for lines, labels in pieces(texts):
            writer.writerows(zip(lines, labels, strict=True))


def write_jsonl(path: Path, texts: int) -> None:
    """An object a text."""
    with path.open("w", encoding="utf-8") as stream:
        for lines, labels in pieces(texts):
            stream.writelines(
                json.dumps({"text": line, "label": label}) + "\n" for line, label in zip(lines, labels, strict=True)
            )


WRITERS = {"parquet": write_parquet, "jsonl": write_jsonl, "csv": write_csv}


def measure(folder: str) -> None:
    """In the fresh process: go through the stages, and print what each took."""
    from bench.config import DataConfig
    from bench.data.module import TextDataModule, prepare
    from bench.data.sources import open_corpus

    taken: dict[str, float] = {"imports_mib": peak_mib()}
    data = DataConfig(name="generated", path=folder)
    began = time.perf_counter()
    corpus = open_corpus(data)
    taken |= {"open_seconds": time.perf_counter() - began, "open_mib": peak_mib()}
    began = time.perf_counter()
    prepared = prepare(corpus, data, seed=0)
    taken |= {"prepare_seconds": time.perf_counter() - began, "prepare_mib": peak_mib()}
    began = time.perf_counter()
    tokens = sum(int(batch.lengths.sum()) for batch in TextDataModule(prepared, 64, seed=0).train_dataloader())
    assert tokens == prepared.train_tokens
    taken |= {"epoch_seconds": time.perf_counter() - began, "peak_mib": peak_mib()}
    print(json.dumps(taken))


def peak_mib() -> float:
    """Peak resident set of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Watch(threading.Thread):
    """Looks at the memory of a process and all that it started, until it has ended. most: MiB, the largest sum."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(process)
        self.most = 0.0

    def run(self) -> None:
        """Look five times a second."""
        while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
            family = [self._process, *self._process.children(recursive=True)]
            self.most = max(self.most, sum(map(_share_mib, family)))
            time.sleep(0.2)


def _share_mib(process: psutil.Process) -> float:
    try:
        seen = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return float(getattr(seen, "pss", seen.rss)) / 2**20


def main(sizes: list[int]) -> int:
    """Print a line for each corpus; 1 if any takes more than the limit."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}; MiB: peak so far; seconds in brackets")
    print(f"{'texts':>9}  {'format':7}  {'file':>6}  {'imports':>7}  {'open':>12}  {'prepare':>12}  {'epoch':>12}"
          f"  {'all':>6}  {'texts/s':>8}")  # fmt: skip
    worst = 0.0
    for texts in sizes:
        for kind in WRITERS if texts <= TEXT_FORMATS_UP_TO else ["parquet"]:
            with tempfile.TemporaryDirectory() as name:
                worst = max(worst, show(Path(name), texts, kind))
    print(f"peak {worst:.0f} MiB, the limit is {LIMIT_MIB}")
    return int(worst > LIMIT_MIB)


def show(folder: Path, texts: int, kind: str) -> float:
    """Measure one corpus. Returns: the larger of both peaks in MiB."""
    path = folder / "corpus" / f"train.{kind}"
    path.parent.mkdir()
    in_fresh_process("write", str(path), str(texts))  # what this process holds would count as the peak of its children
    took, together = in_fresh_process("measure", str(path.parent), BENCH_CACHE=str(folder / "cache"))
    stages = ((took[f"{at}_seconds"], took["peak_mib" if at == "epoch" else f"{at}_mib"]) for at in
              ("open", "prepare", "epoch"))  # fmt: skip
    columns = "  ".join(f"{mib:5.0f} ({seconds:4.1f})" for seconds, mib in stages)
    rate = texts / (took["open_seconds"] + took["prepare_seconds"] + took["epoch_seconds"])
    print(f"{texts:9,}  {kind:7}  {path.stat().st_size / 2**20:6.1f}  {took['imports_mib']:7.0f}  {columns}"
          f"  {together:6.0f}  {rate:8,.0f}", flush=True)  # fmt: skip
    return max(float(took["peak_mib"]), together)


def in_fresh_process(what: str, *arguments: str, **environment: str) -> tuple[dict[str, float], float]:
    """Do a part of this in a process of its own. Returns: what it measured;  MiB of it and its processes together."""
    command = [sys.executable, __file__, what, *arguments]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        watch = Watch(process.pid)
        watch.start()
        printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{what} ended with exit code {process.returncode}")
    watch.join()
    return json.loads(printed or "{}"), watch.most


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", name, texts]:
            WRITERS[Path(name).suffix.removeprefix(".")](Path(name), int(texts))
        case ["measure", folder]:
            measure(folder)
        case sizes:
            sys.exit(main([int(size) for size in sizes] or SIZES))
