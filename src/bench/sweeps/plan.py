"""A sweep's plan: every combination of what was typed, composed, named, without duplicates, and kept in one file.

`RESULTS/sweeps/<name>/plan-<hash>.json` says which runs answer the question, so that a report never has to guess;
`tuning/trials-<hash>.json` beside it, which trials came before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from bench.claims import ClaimConfig
from bench.config import BenchConfig, ProtocolConfig, protocol_hash
from bench.files import write_atomically
from bench.runs.questions import store_protocol, sweep_folder
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.runs.stored_claims import store_claim
from bench.sweeps.grid import Choice
from bench.sweeps.tuning.studies import without_password

PLAN_SCHEMA_VERSION = 2
AFTER_EQUAL_WIDTH = "after equal width"


@dataclass(frozen=True)
class Wanted:
    """What a run is wanted for. overrides: what its process is started with, `sweep.kernel` at the end;
    held: equal for all that differ in cell and seed alone."""

    choice: Choice
    overrides: tuple[str, ...]
    config: BenchConfig
    held: str
    run_id: str
    pair_key: str
    arm: str


@dataclass(frozen=True)
class Member:
    """One run of a sweep. wanted: what for, once or more: an LSTM of equal width has equal parameters too. It runs as
    the first of them;  status: finished, else how its latest execution ended; None where it has no record."""

    run_id: str
    code_version: str
    wanted: tuple[Wanted, ...]
    status: Status | None
    store: Store = field(repr=False, compare=False)

    @cached_property
    def done(self) -> RunRecord | None:
        """The record of its first finished execution, as it was when first asked for."""
        return self.store.finished(self.run_id) if self.status is Status.FINISHED else None

    @cached_property
    def last(self) -> RunRecord | None:
        """The record of its latest execution, where none has finished."""
        unfinished = self.status not in (None, Status.FINISHED)
        return next(reversed(self.store.executions(self.run_id)), None) if unfinished else None

    @property
    def choice(self) -> Choice:
        """The combination that it runs as."""
        return self.wanted[0].choice

    @property
    def overrides(self) -> tuple[str, ...]:
        """What its process is started with."""
        return self.wanted[0].overrides

    @property
    def config(self) -> BenchConfig:
        """What it is."""
        return self.wanted[0].config

    @property
    def pair_key(self) -> str:
        """With whom it pairs, as the combination that it runs as."""
        return self.wanted[0].pair_key

    @property
    def arm(self) -> str:
        """The configuration without the seed."""
        return self.wanted[0].arm

    @property
    def is_to_run(self) -> bool:
        """Whether it is carried out: it never was, was interrupted, or ended in a way that `retry` chooses."""
        if self.config.force or self.status in (None, Status.INTERRUPTED):
            return True
        return self.status is not Status.FINISHED and self.config.retry in ("all", self.status)


@dataclass(frozen=True)
class Waiting:
    """A run at equal wall-clock whose seconds are not known yet. after: `Wanted.held` of those it waits for;
    reason: why it has not been planned."""

    choice: Choice
    overrides: tuple[str, ...]
    after: str
    reason: str = AFTER_EQUAL_WIDTH


@dataclass(frozen=True)
class Plan:
    """Which runs answer a question. duplicates: combinations left out because another one is the same run;
    claim: what they answer with yes or no, None where nothing is claimed."""

    name: str
    arguments: tuple[str, ...]
    protocol: ProtocolConfig
    members: tuple[Member, ...]
    waiting: tuple[Waiting, ...]
    duplicates: int
    claim: ClaimConfig | None = None

    @property
    def to_run(self) -> list[Member]:
        """Members that were never run, were interrupted, or are chosen by `retry`; every one with `force=true`."""
        return [member for member in self.members if member.is_to_run]

    @property
    def left_out(self) -> list[Member]:
        """Members that failed or diverged before, and that `retry` does not choose."""
        return [m for m in self.members if m.status is not Status.FINISHED and not m.is_to_run]

    def write(self, store: Store, trials: bool = False) -> Path:
        """Keep the plan and its protocol beside the records; the same plan is the same file.

        trials: these are the trials of a round of tuning, which no verdict is reached on.
        """
        folder = sweep_folder(store, self.name)
        if not trials:
            store_protocol(store, self.name, self.protocol)
            if self.claim is not None:
                store_claim(store, self.name, self.claim)
        content = {
            "schema_version": PLAN_SCHEMA_VERSION,
            "name": self.name,
            "arguments": self.arguments,
            "protocol": asdict(self.protocol),
            "protocol_hash": protocol_hash(self.protocol),
            "members": [
                {
                    "run_id": member.run_id,
                    "pair_key": wanted.pair_key,
                    "arm": wanted.arm,
                    "seed": wanted.config.seed,
                    "overrides": tuple(map(without_password, wanted.overrides)),
                }
                for member in self.members
                for wanted in member.wanted
            ],
            "waiting": [tuple(map(without_password, waiting.overrides)) for waiting in self.waiting],
        }
        text = json.dumps(content, indent=1) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        path = folder / "tuning" / f"trials-{digest}.json" if trials else folder / f"plan-{digest}.json"
        if not path.exists():
            write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return path
