"""Blocks of a page that follow a text token by token: the text itself, tinted; rows of numbers below the tokens; every
unit of a layer as a heat map."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.report.names import file_name
from bench.report.theme import shortened

LONGEST = 14  # characters of a token in a grid; the whole of it is in its tooltip
_NARROWEST = 5  # characters that a number takes
_LABEL = 9  # characters of a token below a heat map
_CHARACTER, _GAP = 0.55, 0.5  # rem that such a character takes, and what is between labels
_TALL, _LOW = 64, 3  # units up to which a unit is so many pixels high


def visible(token: str) -> str:
    """A token as people can see it: blanks and empty tokens get a sign."""
    return {"": "∅", " ": "␣", "\t": "⇥", "\n": "⏎"}.get(token, token)


@dataclass(frozen=True)
class Piece:
    """A token in its text. share: of the strongest attribution, −1 to 1;  note: what hovering says;  unseen: whether it
    has no vector of its own."""

    text: str
    share: float
    note: str
    unseen: bool = False


@dataclass(frozen=True)
class Passage:
    """A text whose tokens are tinted. key: its anchor;  label: what it is, for those who do not see it."""

    key: str
    label: str
    pieces: tuple[Piece, ...]
    spaced: bool = True


@dataclass(frozen=True)
class Strip:
    """A row of numbers, one a token. shares: how strongly each is tinted, −1 to 1."""

    title: str
    texts: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class GridLine:
    """Some consecutive tokens. first: the place of the first one, from 1;  tokens: as shown, and whole."""

    first: int
    tokens: tuple[tuple[str, str], ...]
    strips: tuple[Strip, ...]

    @property
    def last(self) -> int:
        """The place of the last one."""
        return self.first + len(self.tokens) - 1


@dataclass(frozen=True)
class TokenGrid:
    """Rows of numbers below the tokens of a text, folded into lines. open: lines that are shown at once."""

    label: str
    lines: tuple[GridLine, ...]
    open: int = 4

    @property
    def shown(self) -> tuple[GridLine, ...]:
        """The lines that are shown at once."""
        return self.lines[: self.open]

    @property
    def folded(self) -> tuple[GridLine, ...]:
        """The others."""
        return self.lines[self.open :]


@dataclass(frozen=True)
class UnitMap:
    """A heat map: tokens from left to right, units from top to bottom.

    passage: the key of its text;  values: base64 of (units, time) bytes, 0 for `low` and 255 for `high`;
    labels: of the columns, none where there is no room.
    """

    title: str
    passage: str
    values: str
    units: int
    time: int
    low: float
    high: float
    labels: tuple[str, ...]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.units * (_LOW if self.units <= _TALL else 1)

    @property
    def column(self) -> float:
        """The width of a labelled column, in rem."""
        return _CHARACTER * max(map(len, self.labels), default=0) + _GAP

    @property
    def scale(self) -> str:
        """Its range in words."""
        return f"{self.low:.1f} to {self.high:.1f}".replace("-", "−")


def token_grid(label: str, tokens: Sequence[str], strips: Sequence[Strip], characters: int) -> TokenGrid:
    """A grid in lines that are at most so many characters wide, and at least one token long."""
    lines = []
    for part in _lines([shortened(visible(token), LONGEST) for token in tokens], characters):
        cut = tuple(Strip(strip.title, strip.texts[part], strip.shares[part]) for strip in strips)
        shown = tuple((shortened(visible(token), LONGEST), token) for token in tokens[part])
        lines.append(GridLine(part.start + 1, shown, cut))
    return TokenGrid(label, tuple(lines))


def _lines(tokens: Sequence[str], characters: int) -> Iterator[slice]:
    start, width = 0, 0
    for place, token in enumerate(tokens):
        needed = max(_NARROWEST, len(token)) + 1
        if place > start and width + needed > characters:
            yield slice(start, place)
            start, width = place, 0
        width += needed
    yield slice(start, len(tokens))


def unit_map(
    title: str, passage: str, tokens: Sequence[str], values: np.ndarray, bounds: tuple[float, float], width: float
) -> UnitMap:
    """A heat map of (time, units) values. bounds: the values of the first and the last colour;  width: in rem, of what
    can be seen of it at once: columns are labelled where there is room."""
    low, high = bounds
    scaled = np.clip((values.T - low) / ((high - low) or 1.0), 0, 1)
    raw = np.round(scaled * 255).astype(np.uint8).tobytes()
    time, units = values.shape
    labels = tuple(shortened(visible(token), _LABEL) for token in tokens)
    drawn = UnitMap(title, file_name(passage), base64.b64encode(raw).decode(), units, time, low, high, labels)
    return drawn if time * drawn.column <= width else replace(drawn, labels=())
