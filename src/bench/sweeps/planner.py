"""From combinations to a plan: composed once for all its seeds, resolved and named; duplicates fall together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from bench.claims import ClaimConfig
from bench.config import BenchConfig, ProtocolConfig
from bench.errors import UserError
from bench.runs.environment import code_version
from bench.runs.identity import Opened, resolve
from bench.runs.index import Columns
from bench.runs.questions import sweep_folder, time_limit
from bench.runs.record import Status
from bench.runs.store import Store
from bench.runs.stored_claims import check_fields
from bench.sweeps.composition import Compositions
from bench.sweeps.grid import Choice, at_width, seed_of
from bench.sweeps.kernels import asked_for, planned_kernels
from bench.sweeps.plan import Member, Plan, Waiting, Wanted
from bench.sweeps.status.state import recorded
from bench.sweeps.tuning.studies import without_password

_Value = TypeVar("_Value")


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
        return _same(
            (config.protocol for config, _ in self._cells.values()),
            "a question is judged by one protocol: give protocol and each of its keys one value",
        )

    def _claim(self) -> ClaimConfig | None:
        """The one claim of all, if there is any."""
        claim = _same(
            (config.sweep.claim for config, _ in self._cells.values()),
            "a question has one claim: give each key of sweep.claim one value",
        )
        if claim is not None:
            check_fields(claim)
        return claim

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


def _same(values: Iterable[_Value], otherwise: str) -> _Value:
    """The value that all of them have.

    Raises: `UserError`, saying `otherwise`, where they differ.
    """
    first, *others = values
    if any(other != first for other in others):
        raise UserError(otherwise)
    return first


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
