"""What a claim rests on: every measure's estimate with its interval, and a field along a key, arm by arm."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from bench.analysis.claims import Answer, Found
from bench.report import theme
from bench.report.figures import Figure, Row, layered
from bench.report.figures_panels import first_panels, in_panels, unique
from bench.report.numbers import interval_cell, number, plural

ALL = "all tasks"
_ROW = 22  # pixels a row of an estimate
_HEIGHT = 180


def estimates(answer: Answer, key: str) -> Figure | None:
    """A panel a measure: the value of each seed and task, and over all of them the mean with its interval.

    key: of the figure's file.
    """
    shown = [found for found in answer.found if len(found.samples)]
    if not shown:
        return None
    names, left_out = first_panels(unique([found.measure.name for found in shown]))
    rows = [row for name, found in zip(names, shown, strict=False) for row in _estimate_rows(name, found)]
    most = max(len({row["row"] for row in rows if row["task"] == name}) for name in names)
    return Figure(
        f"{key}_estimates",
        f"{answer.claim.said}: {plural(len(shown), 'measure')}, {_seeds(shown)}",
        "Dots: one seed on one task each. Thick dot and line: mean over tasks and its interval over seeds. Vertical "
        f"line: no difference; dashed: the margin.{left_out}",
        "Estimates: " + "; ".join(f"{found.measure.name} {told(found)}" for found in shown[:6]) + ".",
        in_panels(_estimate_chart(), names, height=_ROW * (most + 1)),
        tuple(rows),
    )


def along(answer: Answer, key: str) -> Figure | None:
    """A panel a measure that looks along a key: each run's field, and each arm's mean. key: of the figure's file."""
    shown = [found for found in answer.found if found.measure.along and len(found.runs)]
    if not shown:
        return None
    names, left_out = first_panels(unique([found.measure.name for found in shown]))
    rows = [row for name, found in zip(names, shown, strict=False) for row in _along_rows(name, found)]
    arms = tuple(dict.fromkeys(str(row["arm"]) for row in rows))
    keys = ", ".join(dict.fromkeys(str(found.measure.along) for found in shown))
    return Figure(
        f"{key}_along",
        f"{answer.claim.said}: along {keys}, {_seeds(shown)}",
        f"Dots: one run each. Lines: means over runs, tasks together.{left_out}",
        f"Along {keys}: " + "; ".join(f"{found.measure.name}, {found.verdict}" for found in shown[:6]) + ".",
        in_panels(_along_chart(theme.Arms(arms, arms), keys), names, height=_HEIGHT),
        tuple(rows),
    )


def told(found: Found) -> str:
    """Such as `+0.31 [−0.42, 1.10] points`."""
    digits = digits_of(found)
    sign = not found.is_factor
    cell = interval_cell(found.estimate, found.low, found.high, digits, sign=sign)
    return f"{cell.text} {found.unit}".strip() if found.estimate is not None else cell.text


def digits_of(found: Found) -> int:
    """How many digits tell the estimate's interval from the estimate."""
    width = abs((found.high or 0.0) - (found.low or 0.0)) or abs(found.estimate or 1.0) or 1.0
    return 2 if width >= 0.1 else 3 if width >= 0.01 else 4


def _estimate_rows(name: str, found: Found) -> list[Row]:
    null, margin = (1.0, found.measure.least) if found.is_factor else (0.0, found.measure.least)
    lines: Row = {"none": null, **_edges(found, null, margin)}
    rows: list[Row] = [
        {"task": name, "row": str(task) or ALL, "value": float(value), "seed": int(seed), **lines}
        for seed, task, value in found.samples[["seed", "task", "value"]].itertuples(index=False)
    ]
    if found.estimate is not None:
        mean: Row = {"task": name, "row": ALL, "mean": found.estimate, "shown": told(found), **lines}
        rows.append(mean | ({"low": found.low, "high": found.high} if found.low is not None else {}))
    return rows


def _edges(found: Found, null: float, margin: float) -> Row:
    """Where the margin stands, on the claimed side or on both."""
    if margin == null:
        return {}
    lower, upper = (1 / margin, margin) if found.is_factor else (-margin, margin)
    return {
        **({"lower": lower} if found.measure.direction != "higher" else {}),
        **({"upper": upper} if found.measure.direction != "lower" else {}),
    }


def _along_rows(name: str, found: Found) -> list[Row]:
    runs = found.runs[found.runs["size"].notna()]
    rows: list[Row] = [
        {"task": name, "arm": str(arm), "size": float(size), "value": float(value)}
        for arm, size, value in runs[["arm", "size", "value"]].itertuples(index=False)
    ]
    means = runs.groupby(["arm", "size"], sort=True, as_index=False)["value"].mean()
    rows += [
        {"task": name, "arm": str(arm), "size": float(size), "mean": float(value),
         "shown": f"{arm}, {size:g}: {number(float(value), 3)}"}
        for arm, size, value in means[["arm", "size", "value"]].itertuples(index=False)
    ]  # fmt: skip
    return rows


def _estimate_chart() -> alt.LayerChart:
    x = alt.Scale(zero=False, nice=True)
    y = alt.Y("row:N", sort=[ALL], axis=alt.Axis(title=None, labelLimit=110, grid=False))
    base = alt.Chart().encode(y=y)
    axis = alt.Axis(title=None, tickCount=5)
    return layered(
        alt.Chart().mark_rule(style="reference").encode(x=alt.X("none:Q", scale=x, axis=axis)),
        *(alt.Chart().mark_rule(style="edge").encode(x=alt.X(f"{edge}:Q", scale=x, axis=axis))
          for edge in ("lower", "upper")),
        base.mark_point(filled=True, size=28, opacity=0.45).encode(
            x=alt.X("value:Q", scale=x, axis=axis), tooltip=["row:N", "seed:Q", "value:Q"]),
        base.mark_rule(strokeWidth=3, style="mean").encode(x=alt.X("low:Q", scale=x, axis=axis), x2="high:Q"),
        base.mark_point(filled=True, size=110, opacity=1, style="mean").encode(
            x=alt.X("mean:Q", scale=x, axis=axis), tooltip=["shown:N"]),
    )  # fmt: skip


def _along_chart(arms: theme.Arms, keys: str) -> alt.LayerChart:
    axis = alt.Axis(title=f"{keys}, log scale", grid=False, tickCount=4, format="~g")
    x = alt.X("size:Q", scale=alt.Scale(type="log", nice=False, padding=8), axis=axis)
    quality = alt.Axis(title=None, tickCount=5, minExtent=42)
    base = alt.Chart().encode(x=x)
    dots = alt.Y("value:Q", scale=alt.Scale(zero=False), axis=quality)
    means = alt.Y("mean:Q", scale=alt.Scale(zero=False), axis=quality)
    return layered(
        base.mark_point(filled=True, size=24, opacity=0.4).encode(y=dots, color=arms.colour(lines=True)),
        base.transform_filter("isValid(datum.mean)").mark_line(strokeWidth=2).encode(
            y=means, color=arms.colour(lines=True), strokeDash=arms.dash(), tooltip=["shown:N"]),
    )  # fmt: skip


def _seeds(shown: Sequence[Found]) -> str:
    counts = {found.seeds or found.runs["seed"].nunique() for found in shown}
    return f"n = {plural(max(counts), 'seed')}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)} seeds"
