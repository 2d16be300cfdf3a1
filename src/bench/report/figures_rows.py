"""One row a scene, its name above its interval: what the forest plot and the ratios have in common.

A name beside an interval takes half of a phone's width; above it, it has all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import altair as alt

from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict
from bench.report import theme
from bench.report.cells import MATCHINGS
from bench.report.figures import Row
from bench.report.numbers import plural

MAX_ROWS = 40
STEP = 46  # pixels a row
INTERVAL = 9  # pixels below the middle of a row
_NAME = -11


def listed(verdict: Verdict, kept: Callable[[Evidence], bool]) -> tuple[list[Evidence], str]:
    """What is drawn: all tasks together, the headline, then the rest by what is held equal; what a caption adds."""
    rest = sorted((entry for entry in verdict.evidence if not entry.headline), key=_held_equal)
    entries = [entry for entry in (*verdict.overall, *verdict.headline, *rest) if kept(entry)]
    if len(entries) <= MAX_ROWS:
        return entries, ""
    return entries[:MAX_ROWS], f" The first {MAX_ROWS} of {len(entries)} rows; the others are in the table."


def with_headings(verdict: Verdict, entries: Sequence[Evidence], row_of: Callable[[Evidence], Row]) -> list[Row]:
    """A row for each entry, and one above each group of them."""
    pairs = {(entry.baseline, entry.alternative) for entry in entries}
    rows: list[Row] = []
    for heading, group in groupby(entries, lambda entry: _heading(verdict, entry)):
        rows.append({"heading": heading})
        for entry in group:
            versus = f", {entry.alternative} − {entry.baseline}" if len(pairs) > 1 else ""
            named: Row = {"name": f"{entry.scene.task or 'all data'}{versus} (n = {len(entry.seeds)})"}
            rows.append(named | row_of(entry))
    return [{"row": position} | row for position, row in enumerate(rows)]


def row() -> alt.Y:
    """The row of an entry; rows touch."""
    return alt.Y("row:O", axis=None, scale=alt.Scale(padding=0))


def texts(base: alt.Chart) -> list[alt.Chart]:
    """Headings, names at the left, and what is said of each (column `said`) at the right."""
    left, right = alt.value(0), alt.value("width")
    name_room, said_room = alt.ExprRef("0.5 * width - 4"), alt.ExprRef("0.5 * width - 4")
    headings = base.transform_filter("isValid(datum.heading)")
    entries = base.transform_filter("isValid(datum.name)")
    return [
        headings.mark_text(align="left", style="heading", yOffset=INTERVAL, limit=alt.ExprRef("width")).encode(
            x=left, text="heading:N", tooltip="heading:N"),
        entries.mark_text(align="left", yOffset=_NAME, limit=name_room).encode(x=left, text="name:N"),
        entries.mark_text(align="right", yOffset=_NAME, limit=said_room).encode(x=right, text="said:N"),
    ]  # fmt: skip


def sides(entries: Sequence[Evidence], middle: str, better: str) -> list[str]:
    """An axis title of two lines: what is measured, and which side speaks for which arm."""
    pairs = {(entry.baseline, entry.alternative) for entry in entries}
    first, second = pairs.pop() if len(pairs) == 1 else ("first", "second")
    first, second = theme.shortened(first, 14), theme.shortened(second, 14)
    return [middle.format(first=first, second=second), f"← {first} {better}   |   {second} {better} →"]


def seeds(entries: Sequence[Evidence]) -> str:
    """Such as `n = 5 to 20 seeds`."""
    numbers = {len(entry.seeds) for entry in entries}
    if len(numbers) == 1:
        return f"n = {plural(numbers.pop(), 'seed')}"
    return f"n = {min(numbers)} to {max(numbers)} seeds"


def _held_equal(entry: Evidence) -> tuple[str, str]:
    return entry.scene.matching, entry.scene.pooling


def _heading(verdict: Verdict, entry: Evidence) -> str:
    scene = next(iter(verdict.headline), entry).scene if entry in verdict.overall else entry.scene
    kind = "Headline" if entry.headline or entry in verdict.overall else "Descriptive"
    parts = [MATCHINGS.get(scene.matching, scene.matching), f"pooling {scene.pooling}" if scene.pooling else ""]
    return f"{kind}: {', '.join(part for part in parts if part)}"
