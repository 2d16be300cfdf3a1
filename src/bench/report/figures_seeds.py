"""The runs behind the verdict: every seed's qualities, and how the evidence stood at each look."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import altair as alt
import numpy as np
import pandas as pd

from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict
from bench.report import theme
from bench.report.cells import METRICS
from bench.report.figures import Figure, Row, layered
from bench.report.figures_panels import (
    AROUND,
    first_panels,
    in_panels,
    quality,
    rows_of,
    scene_names,
    tasks_of,
    unique,
    with_interval,
)
from bench.report.numbers import number, plural

MAX_DOTS = 2000

Qualities = dict[str, dict[str, dict[int, float]]]  # task -> arm -> seed -> percent


def paired_seeds(verdict: Verdict) -> Figure | None:
    """Every seed's qualities in the headline scenes, a seed's runs joined by a line; quartiles beyond 2,000 runs."""
    every = _qualities([entry for entry in verdict.headline if entry.seeds])
    if not every:
        return None
    names, left_out = first_panels(list(every))
    qualities = {name: every[name] for name in names}
    shown = tuple(arm for arm in verdict.study.arms if any(arm in by_arm for by_arm in qualities.values()))
    arms = theme.Arms(verdict.study.arms, shown)
    dots = sum(len(by_seed) for by_arm in qualities.values() for by_seed in by_arm.values())
    few = dots <= MAX_DOTS
    chart = _seed_chart(arms) if few else _quartile_chart(arms)
    metrics = {METRICS.get(entry.metric, entry.metric) for entry in verdict.headline}
    how = "The seeds that were judged; a grey line joins the runs of one seed, the thick line joins the means."
    if not few:
        how = (
            f"Bars: from the lower to the upper quartile of the seeds (too many for {dots:,} dots); the line: medians."
        )
    return Figure(
        "seeds",
        f"Quality ({', '.join(sorted(metrics))}) of every seed: {plural(len(names), 'task')}, "
        f"n = {plural(dots, 'run')}",
        f"{how} Each panel has its own scale.{left_out}",
        "Quality by arm and seed; means: " + "; ".join(_spoken(name, qualities[name]) for name in names[:6]) + ".",
        in_panels(chart, names, least=AROUND + len(shown) * _arm_width(shown)),
        tuple(_seed_rows(qualities) if few else _quartile_rows(qualities)),
    )


def ladder(looks: pd.DataFrame, compared: tuple[str, str] | None = None) -> Figure | None:
    """How the evidence stood at each look: a panel a task.

    looks: a row per task × look with columns task, seeds, mean, low, high (repeated interval; may be missing), margin;
    compared: baseline and alternative, where they are the same in all rows.
    """
    if looks.empty:
        return None
    names, left_out = first_panels(tasks_of(looks))
    shown = with_interval(looks[looks["task"].isin(names)], "mean", 2)
    rows = rows_of(shown.assign(minus=-shown["margin"], zero=0), ["task", "seeds", "mean", "low", "high", "margin",
                                                                  "minus", "zero", "shown"])  # fmt: skip
    base = alt.Chart().encode(
        x=alt.X("seeds:O", title="seeds at the look", axis=alt.Axis(labelAngle=0)),
        tooltip=["task:N", "seeds:Q", alt.Tooltip("shown:N", title="difference, points"), "margin:Q"],
    )
    first, second = (theme.shortened(arm, 10) for arm in compared or ("first", "second"))
    y = quality("low", f"{second} − {first} (points)")
    marks = [
        base.mark_line(style="edge").encode(y=alt.Y(f"{edge}:Q")) for edge in ("minus", "margin")
    ] + [
        base.mark_line(style="reference").encode(y="zero:Q"),
        base.mark_rule(strokeWidth=2).encode(y=y, y2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(y="mean:Q"),
    ]  # fmt: skip
    last = shown.groupby("task", sort=False).tail(1)
    spoken = [f"{row.task}, {row.shown} points at {row.seeds} seeds" for row in last.head(6).itertuples()]
    reached = sorted({int(seeds) for seeds in last["seeds"]})
    so_far = str(reached[0]) if len(reached) == 1 else f"{reached[0]} to {reached[-1]}"
    return Figure(
        "ladder",
        f"The evidence at each look: {plural(len(names), 'panel')}, n = {so_far} seeds so far",
        "Difference with its repeated interval, as it was judged when that many seeds were in. Dashed: the margin. "
        f"Each panel has its own scale.{left_out}",
        "Difference at each look; latest: " + "; ".join(spoken) + ".",
        in_panels(layered(*marks), names),
        tuple(rows),
    )


def _qualities(entries: Sequence[Evidence]) -> Qualities:
    """Percent by task, arm and seed, from all pairs of arms."""
    scenes = list(dict.fromkeys(entry.scene for entry in entries))
    names = dict(zip(scenes, unique(scene_names(scenes)), strict=True))
    found: Qualities = {}
    for entry in entries:
        by_arm = found.setdefault(names[entry.scene], {})
        by_arm.setdefault(entry.baseline, {}).update(zip(entry.seeds, entry.baseline_quality, strict=True))
        by_arm.setdefault(entry.alternative, {}).update(zip(entry.seeds, entry.alternative_quality, strict=True))
    return found


def _seed_rows(qualities: Qualities) -> list[Row]:
    rows: list[Row] = []
    for task, by_arm in qualities.items():
        for arm, by_seed in by_arm.items():
            rows += [{"task": task, "arm": arm, "seed": seed, "quality": value} for seed, value in by_seed.items()]
            rows.append({"task": task, "arm": arm, "mean": fmean(by_seed.values())})
    return rows


def _seed_chart(arms: theme.Arms) -> alt.LayerChart:
    """A seed's runs joined by a line, and the line of the means."""
    base = alt.Chart().encode(x=_arm_axis(arms.shown))
    runs = base.transform_filter("isValid(datum.quality)").encode(
        y=quality("quality"), tooltip=["task:N", "arm:N", "seed:Q", "quality:Q"]
    )
    means = base.transform_filter("isValid(datum.mean)").encode(
        y=quality("mean"), tooltip=["task:N", "arm:N", "mean:Q"]
    )
    return layered(
        runs.mark_line(style="quiet", strokeWidth=1, opacity=0.45).encode(detail="seed:N"),
        runs.mark_point(filled=True, size=35, opacity=0.8).encode(color=arms.colour(), shape=arms.shape()),
        means.mark_line(style="mean", strokeWidth=3),
    )  # fmt: skip


def _quartile_rows(qualities: Qualities) -> list[Row]:
    rows: list[Row] = []
    for task, by_arm in qualities.items():
        for arm, by_seed in by_arm.items():
            lower, median, upper = np.quantile(list(by_seed.values()), [0.25, 0.5, 0.75]).tolist()
            rows.append({"task": task, "arm": arm, "lower": lower, "median": median, "upper": upper,
                         "seeds": len(by_seed)})  # fmt: skip
    return rows


def _quartile_chart(arms: theme.Arms) -> alt.LayerChart:
    """A bar from quartile to quartile, and the line of the medians."""
    base = alt.Chart().encode(x=_arm_axis(arms.shown), tooltip=["task:N", "arm:N", "lower:Q", "median:Q", "upper:Q",
                                                          "seeds:Q"])  # fmt: skip
    return layered(
        base.mark_bar(size=16, opacity=0.35).encode(
            y=quality("lower"), y2="upper:Q", color=arms.colour()),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=quality("median"), color=arms.colour(), shape=arms.shape()),
        base.mark_line(style="mean", strokeWidth=2).encode(y=quality("median")),
    )  # fmt: skip


def _arm_axis(arms: Sequence[str]) -> alt.X:
    axis = alt.Axis(title=None, labelAngle=0, labelLimit=_arm_width(arms) - 6, grid=False)
    return alt.X("arm:N", sort=list(arms), scale=alt.Scale(type="point", padding=0.4), axis=axis)


def _arm_width(arms: Sequence[str]) -> int:
    """Pixels that an arm takes on the axis, its name included."""
    return min(90, max(50, *(7 * len(arm) + 6 for arm in arms)))


def _spoken(task: str, by_arm: dict[str, dict[int, float]]) -> str:
    means = (f"{arm} {number(fmean(by_seed.values()))}%" for arm, by_seed in by_arm.items())
    return f"{task}, {', '.join(means)}"
