"""All tasks together: performance profile, and the ranking of more than two arms with its critical difference."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.analysis.pairing import Study
from bench.analysis.ranking import Ranking
from bench.report import theme
from bench.report.figures import Figure, Row, layered, single
from bench.report.figures_panels import arms_in, rows_of
from bench.report.numbers import number, plural, probability

_STEP = 40  # pixels a row


def critical_difference(ranking: Ranking, arms: Sequence[str] = ()) -> Figure | None:
    """Mean ranks of three arms or more; bars join arms that the critical difference does not separate.

    arms: all of the study, in its order, for their colours.
    """
    if len(ranking.arms) < 3 or not ranking.tasks:
        return None
    rows = _rank_rows(ranking)
    base = alt.Chart().encode(y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0)), tooltip=["name:N", "said:N"])
    axis = alt.Axis(title="mean rank (1 is best)", orient="top", tickMinStep=1, tickCount=len(ranking.arms))
    room = alt.ExprRef("0.66 * width")
    x = alt.X(
        "rank:Q",
        scale=alt.Scale(domain=[0.9, max(len(ranking.arms), *_ends(rows)) + 0.1], nice=False, zero=False),
        axis=axis,
    )
    named = theme.Arms(tuple(arms) or ranking.arms, ranking.arms)
    chart = layered(
        base.mark_rule(style="mean", strokeWidth=5, yOffset=8).encode(x=alt.X("first:Q"), x2="last:Q"),
        base.transform_filter("isValid(datum.arm)").mark_point(filled=True, size=100, opacity=1, yOffset=8).encode(
            x=x, color=named.colour().legend(None), shape=named.shape(named=False)),
        base.mark_text(align="left", yOffset=-9, limit=room).encode(x=alt.value(0), text="name:N"),
        base.mark_text(align="right", yOffset=-9).encode(x=alt.value("width"), text="said:N"),
    )  # fmt: skip
    ranks = ", ".join(f"{arm} {number(rank)}" for arm, rank in zip(ranking.arms, ranking.mean_ranks, strict=True))
    p = "" if ranking.friedman_p is None else f"; Friedman p = {probability(ranking.friedman_p)}"
    return Figure(
        "critical-difference",
        f"Mean ranks of {len(ranking.arms)} arms over n = {plural(ranking.tasks, 'task')}{p}",
        "Points: mean rank of each arm by its quality. Bars: groups of arms that Nemenyi's critical difference does "
        "not tell apart.",
        f"Mean ranks: {ranks}.",
        single(chart, _STEP * len(rows)),
        tuple(rows),
    )


def _rank_rows(ranking: Ranking) -> list[Row]:
    rows: list[Row] = [
        {"arm": arm, "name": arm, "rank": rank, "said": f"rank {number(rank)}"}
        for arm, rank in zip(ranking.arms, ranking.mean_ranks, strict=True)
    ]
    ranks = dict(zip(ranking.arms, ranking.mean_ranks, strict=True))
    for clique in ranking.cliques:
        held = [ranks[arm] for arm in clique]
        name = f"not told apart: {', '.join(clique)}"
        rows.append({"name": name, "said": "", "first": min(held) - 0.02, "last": max(held) + 0.02})
    if ranking.critical_difference is not None:
        distance = ranking.critical_difference
        rows.append({"name": "critical difference", "said": number(distance), "first": 1.0, "last": 1.0 + distance})
    return [{"row": position} | row for position, row in enumerate(rows)]


def _ends(rows: list[Row]) -> list[float]:
    return [float(row["last"] or 0) for row in rows if "last" in row]


def performance_profile(profile: pd.DataFrame, study: Study) -> Figure | None:
    """Share of an arm's runs above each quality, over all tasks.

    profile: as `analysis.across.performance_profile` gives it.
    """
    if profile.empty:
        return None
    arms = arms_in(profile, study.arms)
    base = alt.Chart().encode(
        x=alt.X("quality:Q", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(title="quality (%)", tickCount=6)),
        color=arms.colour(lines=True),
    )
    share = alt.Axis(title="runs above this quality", format="%", tickCount=5)
    chart = layered(
        base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2, interpolate="step-after").encode(
            y=alt.Y("share:Q", axis=share), strokeDash=arms.dash(),
            tooltip=["arm:N", alt.Tooltip("quality:Q", title="quality, %", format=".2f"),
                     alt.Tooltip("share:Q", title="share of runs above", format=".1%")]),
    )  # fmt: skip
    tasks, runs = int(profile["tasks"].max()), int(profile.groupby("arm")["runs"].max().sum())
    medians = profile[profile["share"] >= 0.5].groupby("arm", sort=False)["quality"].max()
    spoken = [f"{arm} {number(float(medians[arm]), 1)}%" for arm in arms.shown if arm in medians.index]
    return Figure(
        "performance-profile",
        f"Performance profile: {plural(tasks, 'task')}, n = {plural(runs, 'run')}",
        "Share of an arm's runs whose quality lies above the value on the axis; higher is better. Band: pointwise 95% "
        "interval by bootstrap within tasks.",
        f"Share of runs above each quality; half of the runs exceed: {', '.join(spoken)}.",
        single(chart, 260),
        tuple(rows_of(profile, ["arm", "quality", "share", "low", "high"])),
    )
