"""What the stored plans of a question come to: the runs that it wants at present, and the cells that they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.runs.questions import StoredPlan, SweepMember

_TIME_LIMIT = "training.max_seconds="
_KERNEL = "sweep.kernel="
_ONE_CELL = "all"
_TELL_NO_CELL = ("seed=", "sweep.", "until=", "retry=", "force=")


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seed alone. label: what tells them from those of other cells;
    waiting: runs that have no name yet, because they wait for those at equal width."""

    label: str
    run_ids: tuple[str, ...] = ()
    waiting: int = 0


@dataclass(frozen=True)
class Members:
    """What a question wants. all: each wish once, a run can be wanted twice;  waiting: overrides of runs that have no
    name yet;  replaced: ids of earlier plans that later ones want in another form, as code or corpus have changed."""

    all: tuple[SweepMember, ...]
    waiting: tuple[tuple[str, ...], ...]
    replaced: frozenset[str]

    @property
    def run_ids(self) -> list[str]:
        """Every run once, as planned."""
        return list(dict.fromkeys(member.run_id for member in self.all))

    @cached_property
    def labels(self) -> dict[str, str]:
        """By run id, a name for people: that of the cell where it is first wanted, and the seed."""
        cells = self._cell_labels
        labels = {}
        for member in reversed(self.all):
            cell = cells[_untimed(member.overrides)]
            labels[member.run_id] = f"seed={member.seed}" if cell == _ONE_CELL else f"{cell} seed={member.seed}"
        return labels

    @property
    def cells(self) -> list[Cell]:
        """The cells in the order in which they were first wanted; a run that is wanted twice stands in two of them."""
        labels, run_ids = dict[str, str](), dict[str, dict[str, None]]()
        for member in self.all:
            labels.setdefault(member.arm, self._cell_labels[_untimed(member.overrides)])
            run_ids.setdefault(member.arm, {})[member.run_id] = None
        waiting = Counter(self._cell_labels[run] for run in self.waiting)
        cells = [Cell(labels[arm], tuple(ids), waiting.pop(labels[arm], 0)) for arm, ids in run_ids.items()]
        return [*cells, *(Cell(label, waiting=count) for label, count in waiting.items())]

    @cached_property
    def _cell_labels(self) -> dict[tuple[str, ...], str]:
        """For each run's overrides, those that tell its cell from the others."""
        runs = dict.fromkeys([*(_untimed(member.overrides) for member in self.all), *self.waiting])
        common = set.intersection(*map(set, runs)) if runs else set()
        return {
            run: " ".join(w for w in run if w not in common and not w.startswith(_TELL_NO_CELL)) or _ONE_CELL
            for run in runs
        }


def members_of(plans: Sequence[StoredPlan]) -> Members:
    """Everything that plans want, which are sorted by age: where they disagree on the form of a run, the later wins."""
    current: dict[tuple[str, str, str], SweepMember] = {}
    for plan in plans:
        if current:
            forms = {key: member.run_id for member in plan.members for key in _keys(member)}
            current = {
                identity: member
                for identity, member in current.items()
                if all(forms.get(key, member.run_id) == member.run_id for key in _keys(member))
            }
        current |= {(member.run_id, member.pair_key, member.arm): member for member in plan.members}
    ever = {member.run_id for plan in plans for member in plan.members}
    named = {_untimed(member.overrides) for member in current.values()}
    return Members(
        all=tuple(current.values()),
        waiting=tuple(dict.fromkeys(run for plan in plans for run in plan.waiting if run not in named)),
        replaced=frozenset(ever - {member.run_id for member in current.values()}),
    )


def _keys(member: SweepMember) -> list[object]:
    """What a later plan knows the same wish by, though code or corpus have changed since, and with them its id."""
    return [(member.arm, member.seed), _untimed(member.overrides)]


def _untimed(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """The overrides without what the planner puts at the end: the time limit, once it is known, and the execution."""
    for added in (_KERNEL, _TIME_LIMIT):
        if overrides and overrides[-1].startswith(added):
            overrides = overrides[:-1]
    return overrides
