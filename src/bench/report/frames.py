"""Tables made of data frames: which columns, under which titles, with how many digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    scale: float = 1.0

    @property
    def column(self) -> Column:
        """As a document names it."""
        return Column(self.title, self.names, numeric=self.digits is not None or self.p)

    def cell(self, row: Mapping[str, object]) -> Cell:
        """The cell of one row."""
        values = [row[name] for name in self.names]
        if self.digits is None and not self.p:
            text = values[0]
            written = (self.words or {}).get(str(text), text)
            return Cell(text_cell(written).text, text_cell(text).values)
        numbers = [self.scale * float(str(value)) if known(value) else None for value in values]
        if len(numbers) == 3:
            estimate, low, high = numbers
            return interval_cell(estimate, low, high, self.digits or 0)
        value = numbers[0]
        if value is not None and self.digits == 0 and value.is_integer():
            value = int(value)  # a count
        return probability_cell(value) if self.p else number_cell(value, self.digits or 0)


def of_frame(
    name: str, caption: str, frame: pd.DataFrame, shown: Sequence[Shown], *, most: int = 200, folded: bool = False
) -> Table:
    """A table of a data frame, a row a row."""
    rows = tuple(
        tuple(entry.cell({str(key): value for key, value in row.items()}) for entry in shown)
        for row in frame.to_dict("records")
    )
    return Table(name, caption, tuple(entry.column for entry in shown), rows, most, folded)
