"""What a sweep claims: a sentence of the lectures, and which comparison of its runs answers it with yes or no.

A claim is declared beside the grid (`sweep.claim`, docs/claims.md) and stored with the plan, before the runs. It names
no run and changes none. How it is answered is in `bench.analysis.claims`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from bench.errors import UserError

Kind = Literal["difference", "ratio", "interaction", "exponent", "ladder"]
Direction = Literal["higher", "lower", "equal"]
Word = tuple[str, str]  # a key and its value, as typed: ("model", "gru")

ALONG: tuple[Kind, ...] = ("interaction", "exponent", "ladder")  # kinds that look along a key
RATIOS: tuple[Kind, ...] = ("ratio", "ladder")  # kinds whose margin is a factor
LEAST_SIZES = 5  # values of the key that an interaction is a slope over

_SCHEMA = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class Measure:
    """One comparison that a claim stands or falls with: `arm` against `against`, two sets of runs of the grid.

    name: in words;  field: of the record;  arm, against: KEY=VALUE words of the grid that choose the runs;
    direction: what is claimed of arm against the other;  margin: how much it has to be, in points for shares, in the
    field's unit otherwise, as a factor for ratios;  along: the key of interactions, exponents and ladders;
    where: KEY=VALUE words that all runs have, a key several times for several values.
    """

    name: _Text
    field: _Text
    arm: _Text
    direction: Direction
    kind: Kind = "difference"
    against: str | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    along: str | None = None
    where: str = ""

    @property
    def least(self) -> float:
        """The margin: where none is declared, any difference counts."""
        return (1.0 if self.kind in RATIOS else 0.0) if self.margin is None else self.margin


@dataclass(frozen=True, kw_only=True, config=_SCHEMA)
class ClaimConfig:
    """A claim. says: the lectures' sentence;  source: whom to cite;  held: what is equal between the arms, in words;
    measures: what is compared, all of it has to hold;  alpha: of each measure's two-sided interval."""

    says: _Text
    source: _Text
    held: _Text
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)]
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05

    @property
    def said(self) -> str:
        """The sentence without its full stop, to stand in another one or above a section."""
        return self.says.rstrip(".")


def words_of(text: str) -> list[Word]:
    """The KEY=VALUE words of an arm or of `where`.

    Raises: `UserError` for a word of another form.
    """
    pairs = [word.partition("=") for word in text.split()]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise UserError(f"sweep.claim: '{text}' should be KEY=VALUE words of the grid, such as 'model=gru'")
    return [(key, plain_value(value)) for key, _, value in pairs]


def plain_value(value: str) -> str:
    """A value in one spelling: True is true, 1e-3 is 0.001."""
    if value.lower() in ("true", "false", "null", "none"):
        return value.lower().replace("none", "null")
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def check_claim(claim: ClaimConfig) -> None:
    """Rules that span several keys of a measure.

    Raises: `UserError`, one line.
    """
    for measure in claim.measures:
        start = f"sweep.claim: '{measure.name}'"
        words_of(measure.arm)
        words_of(measure.where)
        if measure.against is not None and words_of(measure.against) == words_of(measure.arm):
            raise UserError(f"{start} compares {measure.arm} with itself: change against")
        if measure.against is None and measure.kind != "exponent":
            raise UserError(f"{start}: a {measure.kind} needs against=, the arm that it is compared with")
        if measure.kind in ALONG and measure.along is None:
            raise UserError(f"{start}: a measure of kind {measure.kind} needs along=, a key of the grid")
        if measure.kind not in ALONG and measure.along is not None:
            raise UserError(f"{start}: along={measure.along} means nothing to kind={measure.kind}: remove it")
        if measure.kind in RATIOS and measure.least < 1:
            raise UserError(f"{start}: margin={measure.least:g} is a factor for kind={measure.kind}: 1 or more")
        if measure.direction == "equal" and measure.least <= (1 if measure.kind in RATIOS else 0):
            raise UserError(f"{start}: direction=equal needs a margin: how large a difference does not matter")
