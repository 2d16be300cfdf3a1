"""How much of a gradient is left, by distance from the text's end: vanishing and exploding in one look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.analysis.gradient_flow import HIDDEN
from bench.report import theme
from bench.report.figures import Figure, layered
from bench.report.figures_panels import first_panels, in_panels, rows_of, tasks_of
from bench.report.numbers import plural

_FAINTEST, _LARGEST = 1e-12, 1e12  # of what is drawn: no optimiser step in float32 notices less
_HEIGHT = 260
_COLUMNS = ["task", "arm", "distance", "low", "median", "high", "runs", "one"]


def gradient_flow(curves: pd.DataFrame, arms: Sequence[str], texts: int) -> Figure | None:
    """Quartiles of ‖∂L/∂h_t‖ and ‖∂L/∂c_t‖ over their value at the text's end, a panel a task and moment.

    curves: as `analysis.gradient_flow.flow_curves` gives them;  arms: of the study, in order;  texts: of each run.
    """
    visible = curves[curves["median"].between(_FAINTEST, _LARGEST)]
    if visible.empty:
        return None
    named = visible.assign(arm=_series(visible), task=_panels(visible), one=1.0)
    for column in ("low", "high"):
        named[column] = named[column].clip(_FAINTEST, _LARGEST)
    names, left_out = first_panels(tasks_of(named))
    drawn = named[named["task"].isin(names)]
    runs = int(drawn[drawn["moment"] == drawn["moment"].iloc[0]].groupby(["task", "arm"])["runs"].max().sum())
    return Figure(
        "gradient-flow",
        f"Gradient left, by distance from the text's end: n = {plural(runs, 'curve')} of {plural(texts, 'text')} each",
        "Line: median over texts of the norm of ∂L/∂h, the loss gradient in the state after a token, over that at the "
        "text's last token; band: quartiles. A falling line vanishes, a rising one explodes; a straight one does so by "
        "the same factor at each token. Named c: ∂L/∂c, the LSTM's error carousel. Less than 1e-12 is not "
        f"drawn. All panels have the same scales.{left_out}",
        "Gradient left at the farthest distance: " + "; ".join(_spoken(drawn)) + ".",
        in_panels(_chart(_arms(drawn, arms), drawn), names, height=_HEIGHT).resolve_scale(x="shared", y="shared"),
        tuple(rows_of(drawn, _COLUMNS)),
    )


def _series(curves: pd.DataFrame) -> list[str]:
    """The arm's name for ∂L/∂h, and one of its own for ∂L/∂c."""
    pairs = zip(curves["arm"], curves["state"], strict=True)
    return [str(arm) if state == HIDDEN else f"{arm}, c" for arm, state in pairs]


def _panels(curves: pd.DataFrame) -> list[str]:
    """The moment, behind the task's name where there are several tasks."""
    several = curves["task"].nunique() > 1
    pairs = zip(curves["task"], curves["moment"], strict=True)
    return [f"{task}, {moment}" if several else f"{moment[0].upper()}{moment[1:]}" for task, moment in pairs]


def _arms(drawn: pd.DataFrame, arms: Sequence[str]) -> theme.Arms:
    """The arms look as in every other figure; their cell states come behind them."""
    shown = [str(arm) for arm in drawn["arm"].unique()]
    every = [*arms, *(arm for arm in shown if arm not in arms)]
    return theme.Arms(tuple(every), tuple(arm for arm in every if arm in shown))


def _spoken(drawn: pd.DataFrame) -> list[str]:
    last = drawn.groupby(["task", "arm"], sort=False).tail(1)
    return [
        f"{row.task}, {row.arm}: {row.median:.2g} of it {row.distance:.0f} tokens back"
        for row in last.head(8).itertuples()
    ]


def _chart(arms: theme.Arms, drawn: pd.DataFrame) -> alt.LayerChart:
    low, high = drawn["low"].min(), max(float(drawn["high"].max()), 1.0)
    domain = [10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(title="share of the gradient at the end, log scale", tickCount=6, format="~e", minExtent=42)
    along = alt.Axis(title="tokens before the text's last one", tickCount=5, format="d", grid=False)
    x = alt.X("distance:Q", scale=alt.Scale(nice=False, zero=True), axis=along)
    tooltip = [
        alt.Tooltip("arm:N"), alt.Tooltip("distance:Q", title="tokens back"),
        alt.Tooltip("median:Q", title="left, median text", format=".3~g"),
        alt.Tooltip("low:Q", title="lower quartile", format=".3~g"),
        alt.Tooltip("high:Q", title="upper quartile", format=".3~g"), alt.Tooltip("runs:Q", title="n (runs)"),
    ]  # fmt: skip
    base = alt.Chart().encode(x=x)
    colour = arms.colour(lines=True)
    return layered(
        base.mark_line(style="edge").encode(y=alt.Y("one:Q", scale=scale, axis=axis)),
        base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(
            y=alt.Y("median:Q", scale=scale, axis=axis), color=colour, strokeDash=arms.dash(), tooltip=tooltip),
    )  # fmt: skip
