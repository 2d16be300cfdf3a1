"""Quality against what it costs: Pareto plots, learning curves over wall-clock, quality against tuning budget."""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from bench.analysis.frontier import Cost
from bench.analysis.pairing import Study
from bench.report import theme
from bench.report.figures import Figure, Row, layered
from bench.report.figures_panels import (
    arms_in,
    first_panels,
    in_panels,
    logarithmic,
    only,
    quality,
    rows_of,
    tasks_of,
    with_interval,
    with_task,
)
from bench.report.numbers import number, plural

MAX_POINTS = 40  # of one learning curve
_COSTS: dict[Cost, str] = {
    "train_seconds": "training time (seconds)",
    "parameters_recurrent": "recurrent parameters",
    "parameters_total": "parameters",
}
_PLACE = ["scene", "hardware_key"]
_POINT = ["task", "arm", "runs", "quality", "low", "high", "cost", "least", "most", "aside", "dominated", "shown"]
_APART = 7  # pixels between arms of equal cost


def pareto(points: pd.DataFrame, study: Study, cost: Cost) -> Figure | None:
    """Mean quality with its interval against a mean cost, a panel a scene (and kind of hardware, for time).

    points: as `analysis.frontier.frontier` gives it for this cost.
    """
    unseen = sorted(set(points.loc[points["cost"] <= 0, "arm"]))  # a bag of words has no recurrent parameters
    points = points[points["cost"] > 0]
    if points.empty:
        return None
    named = with_interval(with_task(points, study), "quality", 2)
    names, left_out = first_panels(tasks_of(named))
    left_out += f" No place on a logarithmic axis: {', '.join(unseen)} (cost 0)." if unseen else ""
    arms = arms_in(named, study.arms)
    drawn = _side_by_side(only(named, names), arms)
    what = _COSTS[cost]
    best = drawn.loc[drawn.groupby("task", sort=False)["quality"].idxmax()]
    spoken = [f"{row.task}, {row.arm} {row.shown}%" for row in best.head(6).itertuples()]
    return Figure(
        f"pareto-{'time' if cost == 'train_seconds' else cost.replace('_', '-')}",
        f"Quality against {what}: {plural(len(names), 'task')}, n = {plural(int(drawn['runs'].sum()), 'run')}",
        "Points: means over seeds with 95% intervals of quality; the stepped line joins what no other arm beats in "
        f"both (the Pareto front). Arms of equal cost stand side by side. Each panel has its own scales.{left_out}",
        f"Quality against {what}; best of each: " + "; ".join(spoken) + ".",
        in_panels(_pareto_chart(drawn, arms, what), names),
        tuple(rows_of(drawn, _POINT)),
    )


def _side_by_side(points: pd.DataFrame, arms: theme.Arms) -> pd.DataFrame:
    """The points with an axis that has an extent (`least`, `most`), and pixels (`aside`) between arms of equal cost."""
    costs = points.groupby("task")["cost"]
    equal = costs.transform("max") < 1.03 * costs.transform("min")
    place = points["arm"].map(
        {arm: _APART * (position - (len(arms.shown) - 1) / 2) for position, arm in enumerate(arms.shown)}
    )
    return points.assign(least=points["cost"] / 1.15, most=points["cost"] * 1.15, aside=place.where(equal, 0.0))


def _pareto_chart(points: pd.DataFrame, arms: theme.Arms, what: str) -> alt.LayerChart:
    form: Literal["~g", "~s"] = "~g" if "seconds" in what else "~s"
    tooltip = [
        alt.Tooltip("task:N"), alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title="quality, %"),
        alt.Tooltip("cost:Q", title=what, format=",.4~r"), alt.Tooltip("runs:Q", title="n (runs)"),
    ]  # fmt: skip
    base = alt.Chart().encode(x=logarithmic("cost", what, form), tooltip=tooltip)
    marks = [
        base.mark_rule(opacity=0).encode(x=logarithmic("least", what, form), x2="most:Q", y=quality("quality")),
        base.transform_filter(~alt.datum.dominated)
        .mark_line(style="quiet", interpolate="step-after", strokeWidth=1.5)
        .encode(y=quality("quality")),
    ]
    colour = arms.colour()
    for aside in sorted(set(points["aside"])):
        beside = base.transform_filter(alt.datum.aside == float(aside))
        marks += [
            beside.mark_rule(strokeWidth=2, xOffset=aside).encode(y=quality("low"), y2="high:Q", color=colour),
            beside.mark_point(filled=True, size=90, opacity=1, xOffset=aside).encode(
                y=quality("quality"), color=colour, shape=arms.shape()),
        ]  # fmt: skip
    return layered(*marks)


def learning_curves(curves: pd.DataFrame, targets: pd.DataFrame, study: Study) -> Figure | None:
    """Validation accuracy over seconds of training, and when the median run reached the target.

    curves, targets: as `analysis.frontier.learning_curves` and `time_to_target` give them.
    """
    if curves.empty:
        return None
    named = with_task(curves[curves["seconds"] > 0], study)
    names, left_out = first_panels(tasks_of(named))
    drawn = only(named, names)
    arms = arms_in(drawn, study.arms)
    rows = rows_of(_thinned(drawn), ["task", "arm", "seconds", "accuracy", "low", "high", "seeds"])
    rows += _target_rows(targets.merge(drawn[[*_PLACE, "task"]].drop_duplicates(), on=_PLACE))
    seeds = int(drawn.groupby(["task", "arm"])["seeds"].max().sum())
    spoken = [f"{row['task']}, {row['arm']} {row['said']}" for row in rows if "said" in row][:6]
    return Figure(
        "learning-curves",
        f"Validation accuracy over training time: {plural(len(names), 'task')}, n = {plural(seeds, 'run')}",
        "Line: mean of the best accuracy so far; band: from the tenth to the ninetieth percentile of the runs. Dashed: "
        "the target (where the data name none: one point below the weakest arm's mean, chosen after the runs); "
        f"the mark on it: when the median run reached it. Each panel has its own scales.{left_out}",
        "Validation accuracy over seconds of training; time to target: " + ("; ".join(spoken) or "not known") + ".",
        in_panels(_curve_chart(arms), names),
        tuple(rows),
    )


def _curve_chart(arms: theme.Arms) -> alt.LayerChart:
    colour = arms.colour(lines=True)
    base = alt.Chart().encode(x=logarithmic("seconds", "seconds of training"))
    curve = base.transform_filter("isValid(datum.accuracy)")
    target = base.transform_filter("isValid(datum.target)")
    over_curve = ["task:N", "arm:N", "seconds:Q", "accuracy:Q", alt.Tooltip("seeds:Q", title="n (runs)")]
    over_target = [
        "task:N",
        "arm:N",
        alt.Tooltip("target:Q", title="target, %"),
        alt.Tooltip("said:N", title="reached"),
    ]
    return layered(
        curve.mark_area(opacity=0.15, interpolate="step-after").encode(
            y=quality("low", "accuracy (%)"), y2="high:Q", color=colour),
        target.mark_rule(style="edge").encode(x=alt.value(0), x2=alt.value("width"), y="target:Q"),
        curve.mark_line(interpolate="step-after", strokeWidth=2).encode(
            y=quality("accuracy", "accuracy (%)"), color=colour, strokeDash=arms.dash(), tooltip=over_curve),
        target.transform_filter("isValid(datum.seconds)").mark_point(filled=True, size=80, opacity=1).encode(
            y="target:Q", color=colour, shape=arms.shape(named=False), tooltip=over_target),
    )  # fmt: skip


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_POINTS` points a line, its last one among them."""
    groups = curves.groupby(["task", "arm"], sort=False)
    step = groups["task"].transform("size").floordiv(MAX_POINTS).add(1)
    return curves[groups.cumcount(ascending=False).mod(step) == 0]


def _target_rows(targets: pd.DataFrame) -> list[Row]:
    rows: list[Row] = []
    for row in rows_of(targets, ["task", "arm", "target", "seconds", "reached"]):
        seconds = row.get("seconds")
        when = f"after {number(float(seconds), 1)} s" if isinstance(seconds, float) else "not by the median run"
        rows.append(row | {"said": f"{when} (by {100 * float(row['reached'] or 0):.0f}% of the runs)"})
    return rows


def budget(best: pd.DataFrame, study: Study, *, independent: bool = True) -> Figure | None:
    """Validation quality of the best of k tuning trials, a panel a task (column `dataset`).

    best: as `analysis.frontier.by_budget` gives it;  independent: as there: what is expected, or what one search found.
    """
    if best.empty:
        return None
    named = best.assign(task=best["dataset"].astype(str))
    names, left_out = first_panels(tasks_of(named))
    drawn = only(named, names)
    last = drawn.groupby(["task", "arm"], sort=False).tail(1)
    spoken = [f"{row.task}, {row.arm} {number(float(str(row.quality)))}%" for row in last.head(6).itertuples()]
    of = f"{plural(len(names), 'task')}, n = {plural(int(last['trials'].sum()), 'trial')}"
    rows = tuple(rows_of(_thinned(drawn), ["task", "arm", "trials", "quality", "low", "high"]))
    most = int(drawn["trials"].max())
    chart = in_panels(_budget_chart(arms_in(drawn, study.arms), independent, most), names)
    if independent:
        return Figure(
            "budget",
            f"Expected best validation quality against tuning budget: {of}",
            "Line: what the best of so many random trials is expected to reach, over all subsets of the trials that "
            "ran; a trial that failed counts as 0. Band: from the tenth to the ninetieth percentile of the best of so "
            f"many new draws from them.{left_out}",
            "Expected quality of the best of all trials: " + "; ".join(spoken) + ".",
            chart,
            rows,
        )
    return Figure(
        "budget-so-far",
        f"Best validation quality so far against tuning trials: {of}",
        "The best of the first so many trials of this one search. Its trials depend on the earlier ones, so this is no "
        f"expectation of what another search would find, and it has no band.{left_out}",
        "Best quality after all trials: " + "; ".join(spoken) + ".",
        chart,
        rows,
    )


def _budget_chart(arms: theme.Arms, independent: bool, most: int) -> alt.LayerChart:
    """most: trials of the longest search; trials are whole, and so are the ticks."""
    ticks = sorted({1 + round(step * (most - 1) / 4) for step in range(5)})
    axis = alt.Axis(title="tuning trials", values=ticks, format="d")
    base = alt.Chart().encode(
        x=alt.X("trials:Q", scale=alt.Scale(zero=False, nice=False), axis=axis),
        color=arms.colour(), tooltip=["task:N", "arm:N", "trials:Q", "quality:Q", "low:Q", "high:Q"],
    )  # fmt: skip
    line, point = quality("quality", "best quality (%)"), base.mark_point(filled=True, size=30, opacity=1)
    if not independent:
        return layered(
            base.mark_line(strokeWidth=2, interpolate="step-after").encode(y=line, strokeDash=arms.dash(named=False)),
            point.encode(y=line, shape=arms.shape()),
        )
    return layered(
        base.mark_area(opacity=0.15).encode(y=quality("low", "best quality (%)"), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=line, strokeDash=arms.dash(named=False)),
        point.encode(y=line, shape=arms.shape()),
    )
