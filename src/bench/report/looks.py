"""The part of a report that shows how the evidence stood at each look."""

from __future__ import annotations

from bench.analysis.history import looks_reached
from bench.analysis.verdict import Verdict
from bench.report.document import Plot, Prose, Section
from bench.report.figures_seeds import ladder
from bench.report.frames import Shown, of_frame

_COLUMNS = (
    Shown("Task", ("task",)), Shown("n (seeds)", ("seeds",), 0),
    Shown("Difference, points", ("mean", "low", "high"), 2), Shown("Margin, points", ("margin",), 2),
)  # fmt: skip


def looks(found: Verdict) -> Section:
    """The headline, look by look; several questions at once are left to the tables."""
    key, title = "looks", "Look by look"
    pairs = list({(entry.baseline, entry.alternative) for entry in found.headline})
    frame = looks_reached((*found.overall, *found.headline), found.protocol) if len(pairs) == 1 else None
    if frame is None or frame.empty:
        return Section(key, title, (Prose("No look has been reached yet, or several questions are asked at once."),))
    planned = ", ".join(map(str, found.protocol.looks))
    table = of_frame("looks", f"Where the headline stood at each look; looks are planned at {planned} seeds", frame,
                     _COLUMNS, folded=True)  # fmt: skip
    figure = ladder(frame, pairs[0])
    return Section(key, title, (Plot(figure, table) if figure else table,))
