"""The verdict's evidence, one row a scene: the forest plot with its margin, and the ratios of time and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

import altair as alt

from bench.analysis.decision import EQUIVALENT, UNDECIDED, Interval
from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict
from bench.report import theme
from bench.report.cells import METRICS, tone_of, verdict_words
from bench.report.figures import Figure, Row, layered, single
from bench.report.figures_rows import INTERVAL, STEP, listed, row, seeds, sides, texts, with_headings
from bench.report.numbers import interval_cell, number, plural

_TONES = ["baseline", "alternative", EQUIVALENT, UNDECIDED]
_TONE_SHAPES = ["triangle-left", "triangle-right", "diamond", "circle"]
_GREY = "#808080"  # readable on white and on black
_RATIO_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 1, 1.25, 1.6, 2, 3, 5, 10, 20, 50, 100)
_COSTS = {"time": "training time", "parameters": "recurrent parameters"}
_COST_OFFSETS = {"time": INTERVAL - 5, "parameters": INTERVAL + 5}
_BAND = 24  # pixels of a row's margin


def forest(verdict: Verdict) -> Figure | None:
    """Every scene's difference: repeated interval (thin), ordinary interval (thick), margin (band), verdict (text)."""
    entries, left_out = listed(verdict, lambda entry: bool(entry.deltas))
    if not entries:
        return None
    low, high = _extent(entries)
    rows = with_headings(verdict, entries, lambda entry: _difference_row(entry, low, high))
    headline = sum(entry in verdict.headline for entry in entries)
    others = sum(entry not in verdict.headline and entry not in verdict.overall for entry in entries)
    return Figure(
        "forest",
        f"Difference in quality with its interval: {plural(headline, 'headline scene')}, "
        f"{plural(others, 'other comparison')}, {seeds(entries)}",
        "Thin line: repeated interval over the planned looks, which decides. Thick line: ordinary interval of a single "
        "look. Grey band: differences within the margin. An arrow head: the interval goes on beyond the edge."
        + left_out,
        "Forest plot: " + "; ".join(_spoken(entry) for entry in entries[:6]) + ".",
        single(_forest_chart(verdict.study.arms, low, high, _difference_title(entries)), STEP * len(rows)),
        tuple(rows),
    )


def ratios(verdict: Verdict) -> Figure | None:
    """Every scene's ratio of training time and of recurrent parameters, baseline over alternative."""
    entries, left_out = listed(verdict, lambda entry: bool(entry.time_ratio or entry.parameter_ratio))
    if not entries:
        return None
    rows = with_headings(verdict, entries, _ratio_row)
    title = sides(entries, "{first} ÷ {second}, log scale", "needs less")
    return Figure(
        "ratios",
        f"Ratios of training time and of recurrent parameters: {plural(len(entries), 'comparison')}, {seeds(entries)}",
        "Left of 1 the first arm needs less, right of it the second. Lines: intervals over pairs of runs on one kind "
        "of hardware. At equal wall-clock times do not compare." + left_out,
        "Ratios, first arm over second: " + "; ".join(_spoken_ratio(entry) for entry in entries[:6]) + ".",
        single(_ratio_chart(entries, title), STEP * len(rows)),
        tuple(rows),
    )


def _forest_chart(arms: Sequence[str], low: float, high: float, title: list[str]) -> alt.LayerChart:
    """Band and edges of the margin, both intervals, estimate and words."""
    tone = alt.condition(
        alt.datum.tone == UNDECIDED,
        alt.value(_GREY),
        alt.Color("stands:N", scale=alt.Scale(domain=[*arms, EQUIVALENT]), legend=None),
    )
    shape = alt.Shape("tone:N", scale=alt.Scale(domain=_TONES, range=_TONE_SHAPES), legend=None)
    x = alt.X("low:Q", scale=alt.Scale(domain=[low, high], nice=False, zero=False),
              axis=alt.Axis(tickCount=7, title=title))  # fmt: skip
    tooltip = ["name:N", "difference:N", "ordinary interval:N", "margin:Q", "verdict:N"]
    base = alt.Chart().encode(y=row(), tooltip=tooltip)
    plain = base.mark_rule(strokeWidth=7, opacity=0.4, yOffset=INTERVAL)
    repeated = base.mark_rule(strokeWidth=2, yOffset=INTERVAL)
    estimate = base.mark_point(filled=True, size=90, opacity=1, yOffset=INTERVAL)
    return layered(
        base.mark_bar(style="margin", size=_BAND, yOffset=INTERVAL).encode(x="minus:Q", x2="plus:Q"),
        *(base.mark_tick(style=style, thickness=1, size=_BAND, yOffset=INTERVAL).encode(x=f"{edge}:Q")
          for edge, style in (("minus", "edge"), ("plus", "edge"), ("zero", "reference"))),
        plain.encode(x="plain_low:Q", x2="plain_high:Q", color=tone),
        repeated.encode(x=x, x2="high:Q", color=tone),
        *(base.mark_point(filled=True, shape=f"triangle-{side}", opacity=1, size=60, yOffset=INTERVAL).encode(
            x=f"cut_{side}:Q", color=tone) for side in ("left", "right")),
        estimate.encode(x="estimate:Q", color=tone, shape=shape),
        *texts(base),
    )  # fmt: skip


def _ratio_chart(entries: Sequence[Evidence], title: list[str]) -> alt.LayerChart:
    """1, and both ratios with their intervals, one a little below the other."""
    bounds = [bound for entry in entries for interval in (entry.time_ratio, entry.parameter_ratio) if interval
              for bound in (interval.low, interval.high)]  # fmt: skip
    low, high = min(0.65, *bounds) / 1.08, max(1.55, *bounds) * 1.08
    ticks = [tick for tick in _RATIO_TICKS if low <= tick <= high]
    x = alt.X("one:Q", scale=alt.Scale(type="log", domain=[low, high], nice=False),
              axis=alt.Axis(values=ticks, format="~g", title=title))  # fmt: skip
    base = alt.Chart().encode(y=row(), tooltip=["name:N", *(f"{kind}:N" for kind in _COSTS.values())])
    marks = [base.mark_tick(style="reference", thickness=1, size=_BAND, yOffset=INTERVAL).encode(x=x)]
    kinds = theme.Arms(tuple(_COSTS.values()), tuple(_COSTS.values()))
    for cost, offset in _COST_OFFSETS.items():
        colour, shape = kinds.colour(f"{cost}_kind"), kinds.shape(f"{cost}_kind")
        marks += [
            base.mark_rule(strokeWidth=2, yOffset=offset).encode(x=f"{cost}_low:Q", x2=f"{cost}_high:Q", color=colour),
            base.mark_point(filled=True, size=70, opacity=1, yOffset=offset).encode(
                x=f"{cost}_ratio:Q", color=colour, shape=shape),
        ]  # fmt: skip
    return layered(*marks, *texts(base))


def _extent(entries: Sequence[Evidence]) -> tuple[float, float]:
    """The axis: every estimate and margin, and the intervals, unless a few wide ones would flatten all others."""
    bounds = [abs(bound) for entry in entries if entry.difference
              for bound in (entry.difference.low, entry.difference.high)]  # fmt: skip
    needed = max(max(abs(_estimate(entry)) * 1.2, 1.5 * entry.margin) for entry in entries)
    usual = 3 * median(bounds) if bounds else 0.0
    limit = max(needed, min(max(bounds, default=0.0), usual) * 1.05)
    return -limit, limit


def _difference_row(entry: Evidence, low: float, high: float) -> Row:
    drawn: Row = {
        "estimate": _estimate(entry),
        "zero": 0,
        "minus": -entry.margin,
        "plus": entry.margin,
        "margin": entry.margin,
        "stands": entry.verdict,
        "tone": tone_of(entry.verdict, entry.baseline, entry.alternative),
        "verdict": verdict_words(entry),
        "said": verdict_words(entry),
        "difference": _written(entry.difference) + " points",
        "ordinary interval": _written(entry.plain) + " points",
    }
    if entry.plain:
        drawn |= {"plain_low": max(low, entry.plain.low), "plain_high": min(high, entry.plain.high)}
    if entry.difference:
        drawn |= {"low": max(low, entry.difference.low), "high": min(high, entry.difference.high)}
        drawn |= {"cut_left": low} if entry.difference.low < low else {}
        drawn |= {"cut_right": high} if entry.difference.high > high else {}
    return drawn


def _ratio_row(entry: Evidence) -> Row:
    drawn: Row = {"one": 1}
    said = []
    for cost, interval in (("time", entry.time_ratio), ("parameters", entry.parameter_ratio)):
        drawn[_COSTS[cost]] = _written(interval, sign=False)
        if interval:
            drawn |= {f"{cost}_kind": _COSTS[cost], f"{cost}_ratio": interval.estimate,
                      f"{cost}_low": interval.low, f"{cost}_high": interval.high}  # fmt: skip
            said.append(f"{'time' if cost == 'time' else 'weights'} {number(interval.estimate)}")
    return drawn | {"said": ", ".join(said)}


def _estimate(entry: Evidence) -> float:
    return entry.difference.estimate if entry.difference else fmean(entry.deltas)


def _difference_title(entries: Sequence[Evidence]) -> list[str]:
    metrics = {entry.metric for entry in entries}
    metric = METRICS.get(next(iter(metrics)), "quality") if len(metrics) == 1 else "quality"
    return sides(entries, f"{{second}} − {{first}}, points of {metric}", "better")


def _written(interval: Interval | None, sign: bool = True) -> str:
    if interval is None:
        return "n/a"
    return interval_cell(interval.estimate, interval.low, interval.high, sign=sign).text


def _spoken(entry: Evidence) -> str:
    return f"{entry.scene.task}, {number(_estimate(entry), sign=True)} points, {verdict_words(entry)}"


def _spoken_ratio(entry: Evidence) -> str:
    return f"{entry.scene.task}, time {_written(entry.time_ratio, sign=False)}, " \
           f"parameters {_written(entry.parameter_ratio, sign=False)}"  # fmt: skip
