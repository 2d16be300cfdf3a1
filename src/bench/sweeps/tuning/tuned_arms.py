"""The arms that tuning gives a budget to: the cells of a grid without their seeds, each composed once and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.config import BenchConfig
from bench.errors import UserError
from bench.sweeps.composition import Compositions
from bench.sweeps.grid import Choice, at_width, seed_of
from bench.sweeps.tuning.space import Axis, check_against_grid, check_values


@dataclass(frozen=True)
class Arm:
    """What gets a budget. overrides, swept: as of its choices, the seed aside."""

    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    config: BenchConfig

    @property
    def cell(self) -> str:
        """As `Choice.cell`."""
        return Choice(self.overrides, self.swept).cell


class Arms:
    """The arms of a grid. Runs at equal wall-clock have no arm of their own: theirs is that at equal width."""

    def __init__(self, choices: Sequence[Choice], axes: Sequence[Axis], sweep: str) -> None:
        """Find, compose and check them.

        Raises: `UserError` for a grid that varies what is searched or `tuning` itself, for values in the space that an
        arm cannot have, and for runs at equal wall-clock without those at equal width.
        """
        varied = {key_of(part) for choice in choices for part in choice.swept}
        check_against_grid(axes, varied)
        if several := sorted(key for key in varied if key.partition(".")[0] == "tuning"):
            raise UserError(f"{several[0]} takes one value in a sweep: every arm gets the same budget and space")
        self._marks = ("sweep.member=true", f"sweep.name={sweep}", "until=null")
        self._compositions = Compositions()
        self._arms: dict[tuple[str, ...], Arm] = {}
        for choice in choices:
            self._add(choice)
        for choice in choices:
            self.of(choice)  # for its error
        for arm in self:
            check_values(axes, lambda override, arm=arm: self._composed((*arm.overrides, override)))  # type: ignore[misc]

    def __iter__(self) -> Iterator[Arm]:
        return iter(self._arms.values())

    def __len__(self) -> int:
        return len(self._arms)

    def of(self, choice: Choice) -> Arm:
        """The arm of a choice.

        Raises: `UserError` if it is at equal wall-clock, and this sweep lacks the same runs at equal width.
        """
        key = _seedless(choice.overrides)
        if key not in self._arms:
            raise UserError(
                "model.match=time takes its recipe from the same runs at equal width, which this sweep lacks: write "
                f"model.match=width,time (run {choice.label})"
            )
        return self._arms[key]

    def _add(self, choice: Choice) -> None:
        key = _seedless(choice.overrides)
        if key not in self._arms and at_width(choice.overrides) == choice.overrides:
            swept = tuple(part for part in choice.swept if not part.startswith("seed="))
            self._arms[key] = Arm(key, swept, self._composed(key))

    def _composed(self, overrides: Sequence[str]) -> BenchConfig:
        kept = [override for override in overrides if not override.startswith(("sweep.name=", "until="))]
        return self._compositions.config([*kept, *self._marks])


def check_seeds(choices: Sequence[Choice], arms: Arms, seed: int) -> None:
    """See that winners run on fresh seeds. seed: that of the trials.

    Raises: `UserError` if it is among those that are compared.
    """
    seeds = {seed for choice in choices for seed in map(seed_of, choice.overrides) if seed is not None}
    seeds = seeds or {arm.config.seed for arm in arms}
    if seed in seeds:
        raise UserError(
            f"tuning.seed={seed} is among the seeds that are compared, and winners run on fresh ones: write "
            f"tuning.seed={max(1000, max(seeds) + 1)}"
        )


def key_of(override: str) -> str:
    """The key or group that an override sets."""
    return override.partition("=")[0].lstrip("+~")


def _seedless(overrides: Sequence[str]) -> tuple[str, ...]:
    """What the choices of an arm share."""
    return tuple(override for override in at_width(overrides) if seed_of(override) is None)
