"""What a report says, before it is a page, Markdown or a spreadsheet: sections of prose, tables, figures and commands.

Everything here is plain text. What a format needs escaped is escaped by the writer of that format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.report.figures import Figure
from bench.report.tokens import Passage, TokenGrid, UnitMap

Value = str | float | int | None


@dataclass(frozen=True)
class Cell:
    """One cell. text: for people;  values: for spreadsheets, one a key of its column, the first one sorts the table.

    tone: what a colour may stress beside the words: `baseline`, `alternative`, `equivalent`, `undecided` or nothing;
    note: a second line, in small print.
    """

    text: str
    values: tuple[Value, ...]
    tone: str = ""
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column. keys: its names in a spreadsheet, several where a cell holds several numbers (an interval).

    shown: whether people see it, or spreadsheets alone.
    """

    title: str
    keys: tuple[str, ...]
    numeric: bool = True
    shown: bool = True


@dataclass(frozen=True)
class Table:
    """A table that pages and Markdown show, and that is written to `tables/<name>.csv` in full.

    shown: rows on the page, the rest is in the file alone;  folded: closed until a reader opens it.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shown: int = 200
    folded: bool = False

    @property
    def visible(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that a page shows, without what spreadsheets alone hold."""
        kept = [place for place, column in enumerate(self.columns) if column.shown]
        return tuple(tuple(row[place] for place in kept) for row in self.rows[: self.shown])

    @property
    def titles(self) -> tuple[Column, ...]:
        """The columns of the visible rows."""
        return tuple(column for column in self.columns if column.shown)

    @property
    def hidden(self) -> int:
        """How many rows are in the file alone."""
        return max(0, len(self.rows) - self.shown)


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Listing:
    """Points, one a line."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Plot:
    """A figure, and the table that holds its numbers. see: the name of one that stands elsewhere."""

    figure: Figure
    table: Table | None = None
    see: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: tuple[Block, ...]
    open: bool = False


@dataclass(frozen=True)
class Beside:
    """Blocks in columns, each under its title; below one another where the window is narrow."""

    columns: tuple[tuple[str, tuple[Block, ...]], ...]


Block = Prose | Listing | Commands | Plot | Table | Passage | TokenGrid | UnitMap | Fold | Beside


@dataclass(frozen=True)
class Section:
    """A part of the report. key: its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report. sentence: the answer, first on the page;  certainty: how sure it is;  facts: names and values."""

    title: str
    sentence: str
    certainty: str
    tone: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def answer(self) -> tuple[str, str]:
        """The first sentence, and what follows it."""
        first, *rest = re.split(r"(?<=\.) (?=[A-Z])", self.sentence, maxsplit=1)
        return first, " ".join(rest)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table once, those behind figures included."""
        found = (entry for block in self.blocks for entry in _tables_of(block))
        return tuple({table.name: table for table in found}.values())

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure, in order."""
        return tuple(block.figure for block in self.blocks if isinstance(block, Plot))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block, in order, those inside of others included."""
        return tuple(block for section in self.sections for block in _unfolded(section.blocks))


def _unfolded(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from _unfolded(block.blocks)
        elif isinstance(block, Beside):
            yield from _unfolded(inner for _, inside in block.columns for inner in inside)


def _tables_of(block: Block) -> Sequence[Table]:
    if isinstance(block, Table):
        return [block]
    return [block.table] if isinstance(block, Plot) and block.table else []
