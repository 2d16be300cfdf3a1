"""A sweep's plan: every combination of what was typed, composed, named, without duplicates, and kept in one file.

`RESULTS/sweeps/<name>/plan-<hash>.json` says which runs answer the question, so that a report never has to guess;
`tuning/trials-<hash>.json` beside it, which trials came before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from bench.claims import ClaimConfig
from bench.config import BenchConfig, ProtocolConfig, protocol_hash
from bench.errors import UserError
from bench.files import write_atomically
from bench.runs.environment import code_version
from bench.runs.identity import Opened, resolve
from bench.runs.index import Columns
from bench.runs.questions import store_protocol, sweep_folder, time_limit
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.runs.stored_claims import check_fields, store_claim
from bench.sweeps.composition import Compositions
from bench.sweeps.grid import Choice, at_width, seed_of
from bench.sweeps.kernels import asked_for, planned_kernels
from bench.sweeps.status.state import recorded
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


class Planner:
    """Makes plans for one question; what it has composed and opened for one serves the next."""

    def __init__(self, name: str, arguments: Sequence[str], store: Store, marks: Sequence[str] = ()) -> None:
        """Begin. marks: further overrides for every run, such as `until=null`."""
        sweep_folder(store, name)  # for its error
        self.name = name
        self.arguments = tuple(map(without_password, arguments))
        self.store = store
        self.marks = ("sweep.member=true", f"sweep.name={name}", *marks)
        self.records: Columns = {}  # what was recorded when the latest plan was made
        self._opened = Opened()
        self._compositions = Compositions()
        self._kernels = planned_kernels(store, name)
        self._cells: dict[tuple[str, ...], tuple[BenchConfig, str]] = {}

    def plan(self, choices: Sequence[Choice]) -> Plan:
        """Compose and name every run.

        Raises: `UserError` if any run does not compose or validate: nothing has run then.
        """
        wanted: dict[str, dict[tuple[str, str], Wanted]] = {}
        waiting = []
        for choice in choices:
            wish = self._wish(choice)
            if isinstance(wish, Waiting):
                waiting.append(wish)
            else:
                wanted.setdefault(wish.run_id, {}).setdefault((wish.pair_key, wish.arm), wish)
        self._compositions.keep()
        self.records = recorded(self.store)
        statuses = _statuses(self.records)
        members = [
            Member(run_id, code_version(), tuple(wishes.values()), statuses.get(run_id), self.store)
            for run_id, wishes in wanted.items()
        ]
        _check_waiting(waiting, members)
        duplicates = len(choices) - len(waiting) - len(members)
        return Plan(
            self.name, self.arguments, self._protocol(), tuple(members), tuple(waiting), duplicates, self._claim()
        )  # fmt: skip

    def config(self, choice: Choice) -> BenchConfig:
        """What one choice is composed to, its seed aside; one at equal wall-clock as at equal width."""
        return self._cell(at_width(self._overrides(choice)), choice)[0]

    def _wish(self, choice: Choice) -> Wanted | Waiting:
        overrides = self._overrides(choice)
        if (wide := at_width(overrides)) != overrides:
            config, held = self._cell(wide, choice)
            if config.training.max_seconds is None:
                limit = time_limit(self.store, self.name, held)
                if limit is None:
                    return Waiting(choice, overrides, held)
                overrides = (*overrides, f"training.max_seconds={limit.seconds}")
        config, held = self._cell(overrides, choice)
        seeds = [seed for seed in map(seed_of, overrides) if seed is not None]
        config = replace(config, seed=seeds[-1]) if seeds else config
        resolved = resolve(config, self._opened)
        planned = (*overrides, f"sweep.kernel={resolved.kernel_auto}")
        return Wanted(choice, planned, config, held, resolved.run_id, resolved.pair_key, resolved.arm)

    def _protocol(self) -> ProtocolConfig:
        """The one protocol of all."""
        first, *others = (config.protocol for config, _ in self._cells.values())
        if any(other != first for other in others):
            raise UserError("a question is judged by one protocol: give protocol and each of its keys one value")
        return first

    def _claim(self) -> ClaimConfig | None:
        """The one claim of all, if there is any."""
        first, *others = (config.sweep.claim for config, _ in self._cells.values())
        if any(other != first for other in others):
            raise UserError("a question has one claim: give each key of sweep.claim one value")
        if first is not None:
            check_fields(first)
        return first

    def _overrides(self, choice: Choice) -> tuple[str, ...]:
        return (*(o for o in choice.overrides if not o.startswith(("sweep.name=", "until="))), *self.marks)

    def _cell(self, overrides: tuple[str, ...], choice: Choice) -> tuple[BenchConfig, str]:
        """The configuration of a cell, and what all that is held equal comes to; composed once for all its seeds."""
        seedless = tuple(override for override in overrides if seed_of(override) is None)
        if seedless not in self._cells:
            try:
                config = self._compositions.config(seedless)
                kernel = config.sweep.kernel or self._kernels.get(asked_for(seedless))
                config = replace(config, sweep=replace(config.sweep, kernel=kernel))
                resolved = resolve(replace(config, seed=0), self._opened)
            except UserError as error:
                raise UserError(f"{error} (run {choice.label})" if choice.swept else str(error)) from None
            config = replace(config, sweep=replace(config.sweep, kernel=resolved.kernel_auto))
            self._cells[seedless] = config, f"{resolved.pair_key}-{resolved.code_version}"
        return self._cells[seedless]


def _statuses(records: Columns) -> dict[str, Status]:
    """Of every run that has a record: finished, else how its latest execution ended."""
    statuses: dict[str, Status] = {}
    executions = zip(*(map(str, records[name]) for name in ("run_id", "execution_id", "status")), strict=True)
    for run_id, _, status in sorted(executions):  # executions of a run sort by their start
        if statuses.get(run_id) is not Status.FINISHED:
            statuses[run_id] = Status(status)
    return statuses


def _check_waiting(waiting: Sequence[Waiting], members: Sequence[Member]) -> None:
    """Runs at equal wall-clock are planned beside those that their seconds come from."""
    planned = {wanted.held for member in members for wanted in member.wanted}
    for run in waiting:
        if run.after not in planned:
            raise UserError(
                "model.match=time takes its seconds from the same runs at equal width, which this sweep lacks: write "
                f"model.match=width,time or set training.max_seconds=SECONDS (run {run.choice.label})"
            )
