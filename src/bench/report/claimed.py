"""Which claims a report is about: read from the plans of a question, or of the questions that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis.claim_runs import MISSING, planned_runs
from bench.analysis.claims import Answer, answer
from bench.runs.questions import StoredPlan, stored_plans, sweep_names
from bench.runs.record import Status
from bench.runs.store import Store
from bench.runs.stored_claims import StoredClaim, stored_claims, stored_parts


@dataclass(frozen=True)
class PlannedClaim:
    """A question that claims something, as planned. claims: first fixed first;  plans: oldest first, at least one."""

    name: str
    claims: tuple[StoredClaim, ...]
    plans: tuple[StoredPlan, ...]


@dataclass(frozen=True)
class PlannedClaims:
    """Everything that a question was planned to answer. missing: parts without a plan or without a claim."""

    name: str
    parts: tuple[PlannedClaim, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Claimed:
    """A question that claims something. claims: as stored, first fixed first, and the first one is answered;
    asked: the arguments of its plan;  runs: as from `planned_runs`;  records: theirs, as `bench.records`."""

    name: str
    claims: tuple[StoredClaim, ...]
    asked: tuple[str, ...]
    runs: pd.DataFrame
    answer: Answer
    records: pd.DataFrame

    @property
    def unfinished(self) -> dict[str, int]:
        """How many planned runs have no result, by what became of them."""
        counts = self.runs.drop_duplicates("run_id")["status"].value_counts()
        return {str(status): int(count) for status, count in counts.items() if status != Status.FINISHED}


@dataclass(frozen=True)
class Claims:
    """Everything that a question claims. name: of the question;  missing: parts without a plan or without a claim."""

    name: str
    parts: tuple[Claimed, ...]
    missing: tuple[str, ...]

    @property
    def runs(self) -> pd.DataFrame:
        """All planned runs, column `question` says what for."""
        tables = [part.runs.assign(question=part.name) for part in self.parts]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"question": []})


def claims_something(store: Store, name: str) -> bool:
    """Whether a question was planned with a claim, or is made of questions."""
    planned = name in sweep_names(store) and bool(stored_claims(store, name))
    return planned or bool(stored_parts(store, name))


def planned_claims(store: Store, name: str) -> PlannedClaims:
    """What a question claims, or what the questions claim that it is made of."""
    names = stored_parts(store, name) or (name,)
    known = set(sweep_names(store))
    read = [
        PlannedClaim(part, tuple(stored_claims(store, part)), tuple(stored_plans(store, part)))
        for part in names
        if part in known
    ]
    parts = tuple(part for part in read if part.claims and part.plans)
    return PlannedClaims(name, parts, tuple(part for part in names if part not in {entry.name for entry in parts}))


def answer_claims(planned: PlannedClaims, records: pd.DataFrame) -> Claims:
    """What records say of planned claims. records: as `bench.records`, also of other questions."""
    return Claims(planned.name, tuple(_claimed(part, records) for part in planned.parts), planned.missing)


def _claimed(part: PlannedClaim, records: pd.DataFrame) -> Claimed:
    plan = _answering(part.plans, records)
    runs = planned_runs(plan.members, records)
    found, own = answer(part.name, part.claims[0].claim, runs), records["run_id"].isin(runs["run_id"])
    return Claimed(part.name, part.claims, plan.arguments, runs, found, records[own].reset_index(drop=True))


def _answering(plans: Sequence[StoredPlan], records: pd.DataFrame) -> StoredPlan:
    """The plan that most finished runs answer, the latest of equals: one call of several that were made."""
    finished = set(records[records["status"] == Status.FINISHED]["run_id"])
    ranked = [(len({member.run_id for member in plan.members} & finished), place) for place, plan in enumerate(plans)]
    return plans[max(ranked)[1]]


def told_status(status: str) -> str:
    """What became of runs, in words."""
    return "not run yet" if status == MISSING else status
