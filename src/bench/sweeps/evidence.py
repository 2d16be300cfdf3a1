"""The evidence ladder, `until=verdict`: seeds are added look by look, only where the verdict is still undecided.

The looks are those that the protocol plans, and every look is judged by that protocol, so that looking often does not
make errors more frequent. A look depends on the runs alone: a ladder that was interrupted climbs the same way again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config import ProtocolConfig
from bench.errors import UserError
from bench.runs.record import Status
from bench.runs.store import Store
from bench.sweeps.grid import Choice, expand, name_of
from bench.sweeps.plan import Plan
from bench.sweeps.planner import Planner

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

    from bench.analysis.evidence import Evidence
    from bench.analysis.verdict import Verdict

Pair = frozenset[str]  # the cells (`Choice.cell`) of two arms that are compared
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judged:
    """What a look said of one task. goes_on: it gets more seeds."""

    evidence: Evidence
    goes_on: bool


@dataclass(frozen=True)
class Look:
    """One look. number: 1 for the first, `of` so many;  seeds, next_seeds: planned at this and the next one;
    verdict: None where nothing has finished."""

    number: int
    of: int
    seeds: int
    next_seeds: int | None
    judged: tuple[Judged, ...]
    verdict: Verdict | None

    @property
    def goes_on(self) -> bool:
        """Whether any task gets more seeds."""
        return any(entry.goes_on for entry in self.judged)


class Ladder:
    """Which seeds are wanted, and where further ones are."""

    def __init__(self, choices: Sequence[Choice], protocol: ProtocolConfig) -> None:
        """Begin before the first look. choices: every cell with every seed up to the cap."""
        self.choices = list(choices)
        self.protocol = protocol
        self.step = 0
        self.seeds = {choice.cell: protocol.looks[0] for choice in choices}
        self.open: set[Pair] | None = None  # None before the first look: all

    @property
    def wanted(self) -> list[Choice]:
        """What the present look is judged on."""
        return [choice for choice in self.choices if _seed(choice) < self.seeds[choice.cell]]

    @property
    def outlook(self) -> str:
        """What comes after the first look."""
        looks = ", ".join(map(str, self.protocol.looks))
        return f"looks at {looks} seeds; further seeds only where the verdict is undecided"

    def judge(self, plan: Plan, store: Store) -> Look:
        """Judge the runs of the present look, and step on to the next one where a verdict is undecided."""
        looks = self.protocol.looks
        verdict = _judge(plan, store)
        upcoming = looks[self.step + 1] if self.step + 1 < len(looks) else None
        pairs = [(entry, pair_of(entry, verdict, plan)) for entry in verdict.headline] if verdict else []
        open_pairs = still_open(pairs, self.open) if upcoming is not None else set()
        judged = tuple(Judged(entry, pair in open_pairs) for entry, pair in pairs)
        look = Look(self.step + 1, len(looks), looks[self.step], upcoming, judged, verdict)
        self.open = open_pairs
        if upcoming is not None and open_pairs:
            self.step += 1
            self.seeds |= dict.fromkeys(frozenset().union(*open_pairs), upcoming)
        return look


def make_ladder(
    arguments: Sequence[str],
    params: Mapping[str, object],
    name: str | None,
    store: Store,
    loader: ConfigLoader,
    *,
    exclude: Sequence[str] = (),
) -> tuple[Planner, Ladder]:
    """The ladder of a question, and the planner for its looks.

    arguments: overrides as typed;  params: the grid of a sweep file, which `arguments` override;
    name: of the question, None for one that was typed;  loader: Hydra's, for `model=glob(*)`;
    exclude: combinations to leave out, as in `expand`.
    Raises: `UserError` if seeds are chosen by hand.
    """
    for argument in arguments:
        if re.match(r"\+*seed=", argument):
            raise UserError(
                f"until=verdict chooses the seeds, at protocol.looks: leave {argument} out, or until=verdict"
            )
    cells = expand(arguments, {**params, "seed": "0"}, loader, exclude)
    planner = Planner(name or name_of(cells), arguments, store, marks=["until=null"])
    protocol = planner.config(cells[0]).protocol
    seeds = f"range({protocol.looks[-1]})"
    # Where the file does not say how fast seeds vary, they vary slowest: runs that pair take place side by side.
    grid = {**params, "seed": seeds} if "seed" in params else {"seed": seeds, **params}
    return planner, Ladder(expand(arguments, grid, loader, exclude), protocol)


def check_arms(plan: Plan) -> None:
    """Two cells at least.

    Raises: `UserError` if the grid has one alone.
    """
    cells = {wanted.config.model.cell for member in plan.members for wanted in member.wanted}
    if len(cells) < 2:
        raise UserError(f"until=verdict compares cells, and here is {cells.pop()} alone: write model=gru,lstm")


def still_open(pairs: Sequence[tuple[Evidence, Pair]], before: set[Pair] | None) -> set[Pair]:
    """The pairs that need more seeds: undecided now, and at every look before; what was closed stays closed."""
    undecided = {pair for entry, pair in pairs if entry.verdict == UNDECIDED}
    return undecided if before is None else undecided & before


def pair_of(entry: Evidence, verdict: Verdict, plan: Plan) -> Pair:
    """The cells whose runs a piece of evidence compares."""
    runs = verdict.study.runs
    compared = (runs.scene == verdict.study.scenes.index(entry.scene)) & runs.arm.isin(
        [entry.baseline, entry.alternative]
    )
    run_ids = set(runs[compared].run_id)
    wanted = [wanted for member in plan.members if member.run_id in run_ids for wanted in member.wanted]
    matching = [w for w in wanted if w.config.model.match == entry.scene.matching] or wanted
    matching = [w for w in matching if w.config.model.kernel == entry.scene.execution] or matching
    return frozenset(w.choice.cell for w in matching)


def _judge(plan: Plan, store: Store) -> Verdict | None:
    """What the finished runs of a plan say."""
    from bench.analysis.verdict import verdict

    records = store.table()
    finished = records[records.run_id.isin([m.run_id for m in plan.members]) & (records.status == Status.FINISHED)]
    return None if finished.empty else verdict(finished, plan.protocol)


def _seed(choice: Choice) -> int:
    return next(int(part.removeprefix("seed=")) for part in choice.swept if part.startswith("seed="))
