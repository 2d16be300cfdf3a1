"""Time of a training step against the length of texts, one panel an execution, on logarithmic axes."""

from __future__ import annotations

import altair as alt
import pandas as pd

from bench.analysis.duel_meetings import MATRIX_PRODUCT
from bench.analysis.duel_sentence import name_of
from bench.models.sizes import SIMPLEST_FIRST
from bench.report import theme
from bench.report.figures import Figure, layered
from bench.report.figures_panels import in_panels, rows_of, with_interval
from bench.report.numbers import number, plural

_HEIGHT = 260


def against_length(speeds: pd.DataFrame, growth: pd.DataFrame) -> Figure | None:
    """Milliseconds of a training step over tokens per text, at one batch size and width.

    speeds, growth: as `analysis.duels` gives them, speeds at the centre's batch size and width alone.
    """
    drawn = speeds[(speeds["cell"] != MATRIX_PRODUCT) & speeds["equal_width"]]
    if growth.empty or drawn.empty:
        return None
    order = {cell: place for place, cell in enumerate(SIMPLEST_FIRST)}
    shown = (
        with_interval(drawn, "milliseconds")
        .assign(
            task=drawn["kernel"],
            arm=drawn["cell"].map(name_of),
            place=drawn["cell"].map(lambda cell: order.get(cell, len(order))),
        )
        .sort_values(["task", "place", "length"], ascending=[False, True, True])
    )
    arms = theme.Arms(tuple(shown["arm"].unique()), tuple(shown["arm"].unique()))
    panels = list(shown["task"].unique())
    lengths = sorted(int(length) for length in shown["length"].unique())
    spoken = [f"{name_of(str(entry['cell']))} under {entry['kernel']}, exponent {number(float(entry['exponent']))}"
              for entry in growth.head(8).to_dict("records")]  # fmt: skip
    return Figure(
        "growth",
        f"Time of a training step against length: {plural(len(arms.shown), 'model')}, lengths {lengths[0]} to "
        f"{lengths[-1]}",
        "One panel an execution. Both axes are logarithmic, so a straight line is a power of length and its slope the "
        "exponent; 95% intervals over repetitions are mostly smaller than the marks. Models that do not recur are run "
        "by PyTorch alone.",
        "Milliseconds of a training step against tokens per text: " + "; ".join(spoken) + ".",
        in_panels(_chart(arms, lengths), panels, height=_HEIGHT).resolve_scale(x="shared", y="shared"),
        tuple(rows_of(shown, ["task", "arm", "length", "milliseconds", "low", "high", "shown"])),
    )


def _chart(arms: theme.Arms, lengths: list[int]) -> alt.LayerChart:
    along = alt.Axis(values=lengths, format="d", grid=False, title="tokens per text, log scale")
    up = alt.Axis(title="ms per training step, log scale", tickCount=6, format="~g", minExtent=42)
    x = alt.X("length:Q", scale=alt.Scale(type="log", nice=False, padding=14), axis=along)
    y = alt.Y("milliseconds:Q", scale=alt.Scale(type="log", nice=False, padding=10), axis=up)
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("task:N", title="execution"),
        alt.Tooltip("length:Q"),
        alt.Tooltip("shown:N", title="ms"),
    ]
    base = alt.Chart().encode(x=x, y=y, color=arms.colour(), tooltip=tooltip)
    return layered(
        base.mark_line(strokeWidth=2).encode(strokeDash=arms.dash(named=False)),
        base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(shape=arms.shape()),
    )
