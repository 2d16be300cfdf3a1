"""Where an arm does well: by length of text, and by number of training texts."""

from __future__ import annotations

import altair as alt
import pandas as pd

from bench.analysis.pairing import Study
from bench.report import theme
from bench.report.figures import Figure, layered
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
    with_series,
    with_task,
)
from bench.report.numbers import number, plural

_SEPARATOR = "|"  # between the two lines of a tick label
_COLUMNS = ["task", "length", "longest", "texts", "runs", "low", "high", "shown"]
_FEWEST = 20  # texts of one length, below which an interval says nothing
_LEFT_OUT = f" Lengths with fewer than {_FEWEST} texts are left out."


def by_length(lengths: pd.DataFrame, study: Study) -> Figure | None:
    """Test accuracy by length of text, with intervals and the number of texts; a panel a scene.

    lengths: as `analysis.frontier.by_length` gives it.
    """
    if lengths.empty:
        return None
    named = with_interval(with_task(_enough(lengths), study), "accuracy")
    names, left_out = first_panels(tasks_of(named))
    drawn = _with_bins(only(named, names))
    runs = int(drawn.groupby(["task", "arm"])["runs"].max().sum())
    return Figure(
        "by-length",
        f"Test accuracy by length of text: {plural(len(names), 'task')}, n = {plural(runs, 'run')}",
        "Below each length: the number of test texts. Lines: 95% intervals for other texts of that length. Each panel "
        f"has its own scale.{_LEFT_OUT}{left_out}",
        "Accuracy on the longest texts: " + "; ".join(_longest(drawn)) + ".",
        in_panels(_length_chart(arms_in(drawn, study.arms)), names),
        tuple(rows_of(drawn, [*_COLUMNS, "arm", "accuracy"])),
    )


def length_differences(lengths: pd.DataFrame, study: Study, baseline: str, alternative: str) -> Figure | None:
    """Difference in test accuracy by length of text, paired by seed; a panel a scene.

    lengths: as `analysis.frontier.length_differences` gives it for these two arms.
    """
    if lengths.empty:
        return None
    named = with_interval(with_task(_enough(lengths), study), "difference", 2)
    names, left_out = first_panels(tasks_of(named))
    drawn = _with_bins(only(named, names)).assign(zero=0)
    title = f"{theme.shortened(alternative, 10)} − {theme.shortened(baseline, 10)} (points)"
    base = alt.Chart().encode(x=_length_axis(), tooltip=_tooltips("difference, points"))
    chart = layered(
        base.mark_line(style="reference").encode(y=quality("zero", title)),
        base.mark_rule(strokeWidth=2).encode(y=quality("low", title), y2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(y=quality("difference", title)),
    )
    last = drawn[drawn["longest"] == drawn.groupby("task")["longest"].transform("max")]
    spoken = [f"{row.task}, {row.shown} points" for row in last.head(6).itertuples()]
    pairs = int(drawn.groupby("task")["runs"].max().sum())
    return Figure(
        "length-differences",
        f"Difference in test accuracy by length of text, {theme.shortened(alternative)} minus "
        f"{theme.shortened(baseline)}: {plural(len(names), 'task')}, "
        f"n = {plural(pairs, 'pair')} of runs",
        "Points: means over pairs of runs with one seed; lines: 95% intervals over seeds, for these test texts. Below "
        f"each length: the number of test texts. Each panel has its own scale.{_LEFT_OUT}{left_out}",
        "Difference on the longest texts: " + "; ".join(spoken) + ".",
        in_panels(chart, names),
        tuple(rows_of(drawn, [*_COLUMNS, "difference", "zero"])),
    )


def _enough(lengths: pd.DataFrame) -> pd.DataFrame:
    """Lengths of which there are enough texts; all of them where none has."""
    enough = lengths[lengths["texts"] >= _FEWEST]
    return lengths if enough.empty else enough


def _with_bins(lengths: pd.DataFrame) -> pd.DataFrame:
    """The table in the order of lengths, with a column `length`: both lines of the tick's label."""
    ordered = lengths.sort_values(["task", "longest"], kind="stable")
    most = ordered.groupby(["task", "longest"])["texts"].transform("max")
    bins = [f"≤ {longest:,}{_SEPARATOR}{count:,}" for longest, count in zip(ordered["longest"], most, strict=True)]
    return ordered.assign(length=bins)


def _length_axis() -> alt.X:
    axis = alt.Axis(title=["longest text (tokens),", "number of texts"], labelAngle=0, labelOverlap=False,
                    labelExpr=f"split(datum.label, '{_SEPARATOR}')", labelFontSize=10, grid=False)  # fmt: skip
    return alt.X("length:N", sort=alt.EncodingSortField(field="longest", op="min"), axis=axis)


def _tooltips(shown: str, *more: str) -> list[str | alt.Tooltip]:
    named = {"longest": "tokens, up to", "shown:N": shown, "texts": "n (texts)", "runs": "n (runs)"}
    return ["task:N", *more, *(alt.Tooltip(field if ":" in field else f"{field}:Q", title=title)
                               for field, title in named.items())]  # fmt: skip


def _length_chart(arms: theme.Arms) -> alt.LayerChart:
    base = alt.Chart().encode(
        x=_length_axis().scale(padding=0.25),
        xOffset=alt.XOffset("arm:N", scale=alt.Scale(domain=list(arms.shown))),
        color=arms.colour(),
        tooltip=_tooltips("accuracy, %", "arm:N"),
    )
    return layered(
        base.mark_rule(strokeWidth=2).encode(y=quality("low", "accuracy (%)"), y2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            y=quality("accuracy", "accuracy (%)"), shape=arms.shape()),
    )  # fmt: skip


def _longest(drawn: pd.DataFrame) -> list[str]:
    last = drawn[drawn["longest"] == drawn.groupby("task")["longest"].transform("max")]
    return [f"{row.task}, {row.arm} {number(float(str(row.accuracy)), 1)}%" for row in last.head(6).itertuples()]


def by_training_size(sizes: pd.DataFrame, study: Study) -> Figure | None:
    """Quality against the number of training texts; a panel for each dataset and embedding.

    sizes: as `analysis.frontier.by_training_size` gives it.
    """
    if sizes.empty:
        return None
    named = with_interval(with_series(sizes), "quality", 2)
    names, left_out = first_panels(tasks_of(named))
    drawn = only(named, names)
    arms = arms_in(drawn, study.arms)
    base = alt.Chart().encode(
        x=logarithmic("train_texts", "training texts", "~s"),
        color=arms.colour(),
        tooltip=["task:N", "arm:N", "train_texts:Q", alt.Tooltip("shown:N", title="quality, %"),
                 alt.Tooltip("runs:Q", title="n (runs)")],
    )  # fmt: skip
    chart = layered(
        base.mark_rule(strokeWidth=2).encode(y=quality("low"), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=quality("quality"), strokeDash=arms.dash(named=False)),
        base.mark_point(filled=True, size=70, opacity=1).encode(y=quality("quality"), shape=arms.shape()),
    )
    largest = drawn[drawn["train_texts"] == drawn.groupby("task")["train_texts"].transform("max")]
    spoken = [f"{row.task}, {row.arm} {row.shown}%" for row in largest.head(6).itertuples()]
    return Figure(
        "by-training-size",
        f"Quality by number of training texts: {plural(len(names), 'task')}, "
        f"n = {plural(int(drawn['runs'].sum()), 'run')}",
        f"Points: means over seeds with 95% intervals. Each panel has its own scale.{left_out}",
        "Quality with the most training texts: " + "; ".join(spoken) + ".",
        in_panels(chart, names),
        tuple(rows_of(drawn, ["task", "arm", "train_texts", "runs", "quality", "low", "high", "shown"])),
    )
