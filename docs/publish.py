"""Writes results/reference/main_job.parquet, the records behind the README's table.

usage: python docs/publish.py RESULTS [RESULTS ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import bench

TARGET = Path(__file__).resolve().parents[1] / "results" / "reference" / "main_job.parquet"


def main(folders: list[str]) -> None:
    """One row a finished execution; columns as in `bench.records`, without where the files lay."""
    tables = [bench.records(folder) for folder in folders]
    table = pd.concat(tables, ignore_index=True)
    table = table[table.status == "finished"].drop(columns=["results", "data.path"])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    table.sort_values(["data.name", "model.cell", "seed"]).to_parquet(TARGET, index=False, compression="zstd")
    accuracy = table.groupby(["data.name", "model.cell"]).test_accuracy
    print(accuracy.agg(["mean", "std", "count"]).round(4).to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
