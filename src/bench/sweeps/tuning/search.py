"""The search for recipes that precedes a comparison: trials round by round, then each arm's winner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.sweeps import tables
from bench.sweeps.grid import Choice
from bench.sweeps.plan import Plan, Waiting
from bench.sweeps.planner import Planner
from bench.sweeps.work import Work

if TYPE_CHECKING:
    from bench.sweeps.tuning.tuner import Tuner


class Search:
    """`tuning.trials=N`: the same number of trials for every arm, and what came of them."""

    def __init__(self, planner: Planner, tuner: Tuner, store: Store, console: Console) -> None:
        """Begin. Nothing is stored before `carry_out`."""
        self.planner = planner
        self.tuner = tuner
        self.store = store
        self.console = console
        self.complete = False

    @classmethod
    def of(cls, planner: Planner, choices: Sequence[Choice], store: Store, console: Console) -> Search | None:
        """The search that precedes these choices; None without tuning.

        Raises: `UserError` for a space that cannot be searched, or seeds that are not fresh.
        """
        tuning = planner.config(choices[0]).tuning
        if not tuning.trials:
            return None
        from bench.sweeps.tuning.tuner import Tuner

        return cls(planner, Tuner(choices, tuning, store, planner.name), store, console)

    def announce(self) -> None:
        """Say what is searched."""
        self.console.print(self.tuner.outlook, markup=False)

    def carry_out(self, work: Work) -> None:
        """Spend the budget; what an earlier call has spent of it counts.

        Raises: `KeyboardInterrupt` on Ctrl-C: the next call goes on.
        """
        while trials := self.tuner.next_round():
            plan = self.planner.plan(trials)
            plan.write(self.store, trials=True)
            try:
                work.carry_out(plan.to_run)
            finally:
                self.tuner.take_in(_ended(plan, trials, work))
        self.complete = True
        self.console.print(tables.winners(self.tuner.winners(), self.planner.name), soft_wrap=False)

    def tuned(self, choices: Sequence[Choice]) -> tuple[list[Choice], list[Waiting]]:
        """The choices with their arms' winning values, and those whose arm has none."""
        with_values, without = self.tuner.apply(choices)
        return with_values, [Waiting(choice, choice.overrides, "", self.tuner.reason(choice)) for choice in without]


def _ended(plan: Plan, trials: Sequence[Choice], work: Work) -> list[tuple[Choice, RunRecord | None]]:
    """How each trial ended; None for one that was not carried out."""
    records = {
        wanted.choice: work.records.get(member.run_id, member.done or member.last)
        for member in plan.members
        for wanted in member.wanted
    }
    return [(trial, records.get(trial)) for trial in trials]
