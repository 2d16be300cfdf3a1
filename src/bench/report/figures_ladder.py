"""How many seeds solve a generated corpus, by length of its texts: a line an arm."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.analysis.ladder import SHARE, SOLVED
from bench.report import theme
from bench.report.figures import Figure, layered
from bench.report.figures_panels import arms_in, first_panels, in_panels, logarithmic, only, rows_of, tasks_of
from bench.report.numbers import number, plural

_APART = 0.025  # of a length, between arms whose points would hide each other
_COLUMNS = ["task", "arm", "length", "place", "percent", "seeds", "solved", "accuracy", "needed"]


def solved_lengths(shares: pd.DataFrame, arms: Sequence[str], name: str) -> Figure:
    """Share of seeds that solve each length; a panel a task.

    shares: as `analysis.ladder.solved_shares` gives them, with column `task`;  arms: of the study, in order;  name: of
    the figure's files, behind `solved-`.
    """
    run = shares[shares["seeds"] > 0]
    names, left_out = first_panels(tasks_of(run))
    looks = arms_in(run, arms)
    drawn = _placed(only(run, names), looks)
    return Figure(
        f"solved-{name.replace('_', '-')}",
        f"Share of seeds that solve each length: {plural(len(names), 'task')}, "
        f"n = {plural(int(run['seeds'].sum()), 'run')}",
        f"A seed solves a length with at least {SOLVED:.0%} test accuracy. Dashed: the {SHARE:.0%} with which a "
        f"length counts as solved. Points of one length stand side by side.{left_out}",
        "Longest length with any solved run: " + "; ".join(_spoken(drawn)) + ".",
        in_panels(_chart(looks), names),
        tuple(rows_of(drawn, _COLUMNS)),
    )


def _placed(shares: pd.DataFrame, looks: theme.Arms) -> pd.DataFrame:
    """With percents, and a column `place`: the length, moved a little for each arm."""
    middle = (len(looks.shown) - 1) / 2
    moved = {arm: 1 + _APART * (position - middle) for position, arm in enumerate(looks.shown)}
    return shares.assign(
        place=shares["length"] * shares["arm"].map(moved).astype(float),
        percent=100 * shares["share"],
        accuracy=[number(100 * value, 1) for value in shares["median"]],
        needed=100 * SHARE,
    )


def _spoken(drawn: pd.DataFrame) -> list[str]:
    """For each task and arm, its longest length that any seed solves."""
    found = []
    for (task, arm), rows in list(drawn.groupby(["task", "arm"], sort=False))[:8]:
        solved = rows.loc[rows["solved"] > 0, "length"]
        found.append(f"{task}, {arm} {f'{solved.max():,} tokens' if len(solved) else 'none'}")
    return found


def _chart(looks: theme.Arms) -> alt.LayerChart:
    axis = alt.Axis(title="seeds that solve it (%)", tickCount=5, minExtent=42)
    scale = alt.Scale(domain=[0, 100])
    tooltip: list[str | alt.Tooltip] = [
        "task:N", "arm:N", alt.Tooltip("length:Q", title="tokens"), alt.Tooltip("solved:Q", title="solved by"),
        alt.Tooltip("seeds:Q", title="n (seeds)"), alt.Tooltip("accuracy:N", title="median test accuracy, %"),
    ]  # fmt: skip
    share = alt.Y("percent:Q", scale=scale, axis=axis)
    base = alt.Chart().encode(x=logarithmic("place", "tokens"), color=looks.colour(), tooltip=tooltip)
    return layered(
        alt.Chart().mark_line(style="edge").encode(
            x=logarithmic("length", "tokens"), y=alt.Y("needed:Q", scale=scale, axis=axis)),
        base.mark_line(strokeWidth=2, clip=False).encode(y=share, strokeDash=looks.dash(named=False)),
        base.mark_point(filled=True, size=70, opacity=1, clip=False).encode(y=share, shape=looks.shape()),
    )  # fmt: skip
