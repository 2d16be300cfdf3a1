"""What a report is about: which runs answer the question, how they were asked for, and the protocols stored with it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UserError
from bench.runs.questions import StoredProtocol, stored_protocols, stored_trials, sweep_arguments, sweep_members
from bench.runs.store import Store

EVERYTHING = "all"  # what a report on all records is called


@dataclass(frozen=True)
class Question:
    """A sweep, or everything that lies in a results folder.

    run_ids: planned runs, None for all there are;  trial_ids: of its tuning;
    asked: the arguments of each plan;  protocols: first fixed first.
    """

    name: str = EVERYTHING
    run_ids: frozenset[str] | None = None
    trial_ids: frozenset[str] = frozenset()
    asked: tuple[tuple[str, ...], ...] = ()
    protocols: tuple[StoredProtocol, ...] = ()

    @property
    def stored(self) -> StoredProtocol | None:
        """The protocol that was fixed first: the one that judges unless another one is asked for."""
        return self.protocols[0] if self.protocols else None


def read_question(store: Store, sweep: str) -> Question:
    """The plans and protocols of one sweep, put together.

    Raises: `UserError` if the sweep has no readable plan in this results folder.
    """
    members = sweep_members(store, sweep)
    if not members:
        raise UserError(f"report: no plan of sweep '{sweep}' can be read: plan it again with dry_run=false")
    return Question(
        name=sweep,
        run_ids=frozenset(member.run_id for member in members),
        trial_ids=frozenset(member.run_id for plan in stored_trials(store, sweep) for member in plan.members),
        asked=tuple(sweep_arguments(store, sweep)),
        protocols=tuple(stored_protocols(store, sweep)),
    )
