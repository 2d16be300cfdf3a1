"""How numbers are written for people: a fixed number of digits, a real minus sign, intervals as [low, high]."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache

import pandas as pd

from bench.report.document import Cell, Value

UNKNOWN = "n/a"


def number(value: float | int | None, digits: int = 2, sign: bool = False) -> str:
    """Such as `1,204.50`, with `sign` `+0.31`; what is not known is `n/a`."""
    if not known(value):
        return UNKNOWN
    assert value is not None
    rounded = round(float(value), digits) + 0.0  # no negative zero
    return f"{rounded:{'+' if sign and rounded else ''},.{digits}f}".replace("-", "−")


def known(value: object) -> bool:
    """Whether there is a value, and a finite one if it is a number."""
    if value is None or value is pd.NA:
        return False
    return not isinstance(value, float) or math.isfinite(value)


def raw(value: object) -> Value:
    """A value as spreadsheets hold it: finite numbers and text, None for what is not known."""
    if not known(value):
        return None
    return value if isinstance(value, str | int | float) else str(value)


def bounds(low: float | None, high: float | None, digits: int = 2) -> str:
    """Such as `[−0.42, 1.10]`."""
    if not (known(low) and known(high)):
        return UNKNOWN
    return f"[{number(low, digits)}, {number(high, digits)}]"


def probability(value: float | None) -> str:
    """Such as `0.013`; below a thousandth `< 0.001`."""
    if not known(value):
        return UNKNOWN
    assert value is not None
    return "< 0.001" if value < 0.001 else number(value, 3)


@lru_cache(maxsize=4096)  # names repeat in row after row
def text_cell(text: Hashable, tone: str = "", note: str = "") -> Cell:
    """A cell of text."""
    written = UNKNOWN if not known(text) else str(text)
    return Cell(written, (raw(text),), tone, note)


def number_cell(value: float | int | None, digits: int = 2, sign: bool = False) -> Cell:
    """A cell of one number."""
    return Cell(number(value, digits, sign), (raw(value),))


def probability_cell(value: float | None) -> Cell:
    """A cell of a p-value or another probability."""
    return Cell(probability(value), (raw(value),))


def interval_cell(
    estimate: float | None, low: float | None, high: float | None, digits: int = 2, sign: bool = False
) -> Cell:
    """An estimate with its interval: `+0.31 [−0.42, 1.10]`; three values in a spreadsheet."""
    shown = number(estimate, digits, sign)
    if known(low) and known(high):
        shown = f"{shown} {bounds(low, high, digits)}"
    return Cell(shown, (raw(estimate), raw(low), raw(high)))


def plural(count: int, noun: str) -> str:
    """Such as `1 seed`, `1,200 seeds`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"
