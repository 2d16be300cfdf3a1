"""Writes what stands under results/reference/, and rebuilds a question's report from what stands there.

usage: python docs/publish.py TABLE RESULTS [RESULTS ...]        the records behind a table: main_job (README),
                                                                pretrained, pretrained_why (docs/embeddings.md)
       python docs/publish.py SWEEP RESULTS                      a question: records, plan and protocol, report
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

import bench
from bench.analysis.verdict import Verdict, verdict
from bench.report.folder import write_report
from bench.report.question import Question, read_question
from bench.report.sections import compose_report
from bench.runs.store import Store

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"
QUESTION = TypeAdapter(Question)
TABLES = ("main_job", "pretrained", "pretrained_why")


def main(words: Sequence[str]) -> None:
    """One row an execution; columns as in `bench.records`, without where the files lay."""
    name, *folders = words
    table = pd.concat([bench.records(folder) for folder in folders], ignore_index=True)
    table = table.drop(columns=["results", "data.path", "embedding.path"], errors="ignore")
    if name in TABLES:
        kept = (table.status == "finished") & table["tuning.trial"].isna()
        table = table[kept].sort_values(["data.name", "model.cell", "embedding.name", "seed"])
        _write(table, name)
        return
    question = read_question(Store(folders[0]), name)
    _write(table[table.run_id.isin(question.run_ids or ())], name)
    (REFERENCE / f"{name}.json").write_bytes(QUESTION.dump_json(question, indent=1) + b"\n")
    found = rebuild(name, REFERENCE / name)
    for picture in (REFERENCE / name / "figures").glob("*.png"):  # the vector files say the same
        picture.unlink()
    (REFERENCE / name / "runs.parquet").unlink()  # the records above say more
    print(found.sentence)


def rebuild(name: str, folder: Path) -> Verdict:
    """The report of a published question, from its records alone, into a folder."""
    records = pd.read_parquet(REFERENCE / f"{name}.parquet")
    question = QUESTION.validate_json((REFERENCE / f"{name}.json").read_bytes())
    assert question.stored is not None
    protocol = question.stored.protocol
    found = verdict(records, protocol, stored=protocol)
    shutil.rmtree(folder, ignore_errors=True)
    write_report(compose_report(found, question, records), found.study.runs, folder)
    return found


def _write(table: pd.DataFrame, name: str) -> None:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    table.to_parquet(REFERENCE / f"{name}.parquet", index=False, compression="zstd")
    print(f"{name}: {len(table)} records")


if __name__ == "__main__":
    main(sys.argv[1:])
