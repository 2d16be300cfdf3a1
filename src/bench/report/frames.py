"""Tables made of data frames: which columns, under which titles, with how many digits."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.document import Cell, Column, Table
from bench.report.numbers import interval_cell, known, number_cell, probability_cell, text_cell


@dataclass(frozen=True)
class Shown:
    """A column of a table. names: of the frame, three for an estimate and its bounds;  digits: None for text.

    p: a probability;  words: what to write for some values.
    """

    title: str
    names: tuple[str, ...]
    digits: int | None = None
    p: bool = False
    words: Mapping[str, str] | None = None
    scale: int = 1

    @property
    def column(self) -> Column:
        """As a document names it."""
        return Column(self.title, self.names, numeric=self.digits is not None or self.p)

    def cell(self, row: Mapping[Hashable, Hashable]) -> Cell:
        """The cell of one row."""
        if self.digits is None and not self.p:
            value = row[self.names[0]]
            written = (self.words or {}).get(str(value), value)
            return Cell(text_cell(written).text, text_cell(value).values)
        numbers = [self._number(row[name]) for name in self.names]
        if len(numbers) == 3:
            estimate, low, high = numbers
            return interval_cell(estimate, low, high, self.digits or 0)
        return probability_cell(numbers[0]) if self.p else number_cell(numbers[0], self.digits or 0)

    def _number(self, value: object) -> int | float | None:
        """A number in the unit of the column; a count stays one."""
        if not isinstance(value, int | float) or not known(value):
            return None
        scaled = self.scale * value
        return int(scaled) if self.digits == 0 and float(scaled).is_integer() else scaled


def of_frame(
    name: str, caption: str, frame: pd.DataFrame, shown: Sequence[Shown], *, most: int = 200, folded: bool = False
) -> Table:
    """A table of a data frame, a row a row."""
    needed = list(dict.fromkeys(name for entry in shown for name in entry.names))
    rows = tuple(tuple(entry.cell(row) for entry in shown) for row in frame[needed].to_dict("records"))
    return Table(name, caption, tuple(entry.column for entry in shown), rows, most, folded)
