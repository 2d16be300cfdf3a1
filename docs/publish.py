"""Writes what stands under results/reference/, and rebuilds a question's report from what stands there.

usage: python docs/publish.py TABLE RESULTS [RESULTS ...]        the records behind a table: main_job (README),
                                                                pretrained, pretrained_why (docs/embeddings.md)
       python docs/publish.py SWEEP RESULTS                      a question: records, plan and protocol, report;
                                                                of claims (claims/all): records, plans, page
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

import bench
from bench.analysis.verdict import Verdict, verdict
from bench.report.claimed import Claims, PlannedClaim, PlannedClaims, answer_claims, claims_something, planned_claims
from bench.report.claims import claims_document
from bench.report.folder import write_report
from bench.report.question import Question, read_question
from bench.report.sections import compose_report
from bench.runs.questions import StoredPlan
from bench.runs.store import Store

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"
QUESTION = TypeAdapter(Question)
CLAIMS = TypeAdapter(PlannedClaims)
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
    if claims_something(Store(folders[0]), name):
        sentence = _publish_claims(table, Store(folders[0]), name)
    else:
        sentence = _publish_verdict(table, Store(folders[0]), name)
    for picture in (REFERENCE / name / "figures").glob("*.png"):  # the vector files say the same
        picture.unlink()
    (REFERENCE / name / "runs.parquet").unlink()  # the records above say more
    print(sentence)


def _publish_verdict(table: pd.DataFrame, store: Store, name: str) -> str:
    question = read_question(store, name)
    _write(table[table.run_id.isin(question.run_ids or ())], name)
    (REFERENCE / f"{name}.json").write_bytes(QUESTION.dump_json(question, indent=1) + b"\n")
    return rebuild(name, REFERENCE / name).sentence


def _publish_claims(table: pd.DataFrame, store: Store, name: str) -> str:
    planned = planned_claims(store, name)
    wanted = {member.run_id for part in planned.parts for plan in part.plans for member in plan.members}
    _write(table[table.run_id.isin(list(wanted))], name)
    parts = tuple(_without_place(part) for part in planned.parts)
    (REFERENCE / f"{name}.json").write_bytes(CLAIMS.dump_json(replace(planned, parts=parts), indent=1) + b"\n")
    return claims_document(rebuild_claims(name, REFERENCE / name)).sentence


def _without_place(part: PlannedClaim) -> PlannedClaim:
    """The plans without the folder in which their results lay."""

    def kept(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(word for word in words if not word.startswith("results="))

    def moved(plan: StoredPlan) -> StoredPlan:
        members = tuple(replace(member, overrides=kept(member.overrides)) for member in plan.members)
        return replace(plan, arguments=kept(plan.arguments), members=members)

    return replace(part, plans=tuple(moved(plan) for plan in part.plans))


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


def rebuild_claims(name: str, folder: Path) -> Claims:
    """The page of published claims, from their records alone, into a folder."""
    records = pd.read_parquet(REFERENCE / f"{name}.parquet")
    claims = answer_claims(CLAIMS.validate_json((REFERENCE / f"{name}.json").read_bytes()), records)
    shutil.rmtree(folder, ignore_errors=True)
    write_report(claims_document(claims), claims.runs, folder)
    return claims


def _write(table: pd.DataFrame, name: str) -> None:
    (REFERENCE / name).parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(REFERENCE / f"{name}.parquet", index=False, compression="zstd")
    print(f"{name}: {len(table)} records")


if __name__ == "__main__":
    main(sys.argv[1:])
