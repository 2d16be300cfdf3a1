"""How long `python -m bench report` takes over many records, process start included, and what the page weighs.

python benchmarks/report.py [number of records, 10000]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice, product
from pathlib import Path

import numpy as np

from bench.analysis.simulation import template
from bench.compose import compose
from bench.runs.digest import digest
from bench.runs.record import RunRecord
from bench.runs.store import RECORD, Store

DATASETS = [f"corpus {number}" for number in range(10)]
RUNS = [("gru", "width"), ("lstm", "width"), ("gru", "parameters"), ("gru", "time"), ("lstm", "time")]
TEXTS = 1000


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        store = Store(name)
        store.prepare()
        for record in islice(study(), records):
            folder = store.folder(record.run_id, record.execution_id)
            folder.mkdir(parents=True)
            (folder / RECORD).write_text(record.to_json(), encoding="utf-8")
        assert len(store.table()) == records  # writes the index
        bare = seconds("-c", "import pandas, scipy.stats, altair, vl_convert, pyarrow.parquet")
        took = [seconds("-m", "bench", "report", f"results={name}") for _ in range(3)]
        page = Path(name, "reports", "all", "index.html").stat().st_size
    print(f"records              {records}")
    print(f"page                 {page / 1e6:.1f} MB")
    print(f"report, best of 3    {min(took):.1f} s")
    print(f"its libraries alone  {bare:.1f} s")
    print(f"ratio                {min(took) / bare:.1f}")


def study() -> Iterator[RunRecord]:
    """Ten corpora, two embeddings, two readings, three matchings, both cells; seeds without end."""
    like, draw = template(compose([])), np.random.default_rng(0)
    for seed in count():
        for data, vectors, pooling in product(DATASETS, ("random", "glove"), ("mean", "last")):
            for cell, match in (
                ("gru", "width"),
                ("lstm", "width"),
                ("gru", "parameters"),
                ("gru", "time"),
                ("lstm", "time"),
            ):
                config = {
                    "data.name": data, "embedding.name": vectors, "model.pooling": pooling, "model.cell": cell,
                    "model.match": match, "training.max_seconds": 10.0 if match == "time" else None,
                }  # fmt: skip
                correct = draw.random(TEXTS) < draw.normal(0.85, 0.01)
                accuracy, seconds_taken = float(correct.mean()), float(12 * np.exp(draw.normal(0, 0.1)))
                packed = digest(correct, draw.integers(3, 300, TEXTS))
                curve = [[seconds_taken * (step + 1) / 8, accuracy - 0.15 * 0.6**step] for step in range(8)]
                yield replace(
                    like, run_id=f"{seed}-{data}-{vectors}-{pooling}-{cell}-{match}".replace(" ", "-"), seed=seed,
                    execution_id="20261122T000000-000000", test_accuracy=accuracy, test_texts=TEXTS,
                    data_fingerprint=data, embedding_fingerprint=vectors, train_seconds=seconds_taken,
                    validation_accuracy=accuracy, test_correct=packed.test_correct,
                    test_by_length=packed.test_by_length, validation_curve=curve,
                    hidden_size_resolved=148 if match == "parameters" else 128, config=like.config | config,
                )  # fmt: skip


def seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
