"""What a question claims, kept beside its plans before anything runs, and the questions that a larger one is made of.

RESULTS/sweeps/<name>/claims/<hash>.json  a claim, and when it was fixed
RESULTS/sweeps/<name>/parts/<hash>.json   the names of the questions that this one is made of
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from pydantic.dataclasses import dataclass

from bench.claims import ClaimConfig
from bench.errors import UserError, did_you_mean
from bench.runs.questions import READ, now, read_stored, sweep_folder, write_once
from bench.runs.record import field_types
from bench.runs.store import Store


@dataclass(frozen=True, kw_only=True, config=READ)
class StoredClaim:
    """A claim that a question was planned with. fixed_at: ISO 8601, UTC."""

    claim: ClaimConfig
    hash: str
    fixed_at: str


@dataclass(frozen=True, kw_only=True, config=READ)
class StoredParts:
    """The questions that one is made of, in order. fixed_at: ISO 8601, UTC."""

    parts: tuple[str, ...]
    fixed_at: str


def check_fields(claim: ClaimConfig) -> None:
    """What is measured is in every record.

    Raises: `UserError` for a field that is none, or no number.
    """
    numbers = [name for name, kind in field_types().items() if kind in (int, float)]
    for measure in claim.measures:
        if measure.field not in numbers:
            hint = did_you_mean(measure.field, numbers)
            raise UserError(f"sweep.claim: '{measure.name}': a record has no number '{measure.field}': {hint}")


def store_claim(store: Store, name: str, claim: ClaimConfig) -> None:
    """Fix a claim for a question, now or when it was first planned with it."""
    content = asdict(claim)
    digest = _digest(content)
    write_once(sweep_folder(store, name) / "claims" / f"{digest}.json",
                {"claim": content, "hash": digest, "fixed_at": now()})  # fmt: skip


def stored_claims(store: Store, name: str) -> list[StoredClaim]:
    """The claims of a question, first fixed first; damaged files are skipped with one warning each."""
    paths = (sweep_folder(store, name) / "claims").glob("*.json")
    found = [claim for path in paths if (claim := read_stored(path, StoredClaim)) is not None]
    return sorted(found, key=lambda claim: (datetime.fromisoformat(claim.fixed_at), claim.hash))


def store_parts(store: Store, name: str, parts: Sequence[str]) -> None:
    """Keep the names of the questions that one is made of."""
    write_once(sweep_folder(store, name) / "parts" / f"{_digest({'parts': list(parts)})}.json",
                {"parts": list(parts), "fixed_at": now()})  # fmt: skip


def stored_parts(store: Store, name: str) -> tuple[str, ...]:
    """The questions that one is made of, as planned last; none for a question with runs of its own."""
    paths = (sweep_folder(store, name) / "parts").glob("*.json")
    found = [parts for path in paths if (parts := read_stored(path, StoredParts)) is not None]
    return max(found, key=lambda parts: datetime.fromisoformat(parts.fixed_at)).parts if found else ()


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
