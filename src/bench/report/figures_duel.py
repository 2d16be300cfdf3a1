"""A duel as figures: ratios with their intervals, what a difference is made of, time against length of texts."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import altair as alt
import pandas as pd

from bench.analysis.duel_meetings import FASTEST, recurs
from bench.report import theme
from bench.report.figures import Figure, Row, layered, single
from bench.report.figures_rows import INTERVAL, row, texts
from bench.report.numbers import bounds, number, plural

_STEP = 54  # pixels a row: up to three intervals below a name
_APART = 9  # pixels between intervals of one row
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.4, 1.6, 2, 2.5, 3, 4, 5, 7, 10,
          20, 50, 100)  # fmt: skip
_MOST_TICKS = 9
Entry = Mapping[Hashable, str | int | float | bool | None]

_EXECUTIONS = ("torch", "step", FASTEST)
_PARTS = ("arithmetic", "memory", "kernel")
MATCHINGS = {"width": "Equal width", "parameters": "Equal parameters"}


def forest(frame: pd.DataFrame, title: str, name: str, group: str, label: str) -> Figure | None:
    """Time ratios with their intervals, a line an execution.

    frame: rows of `analysis.duels.ratios` that compare cells, with two columns of words: group, the heading that rows
    stand under, and label, what a row is called.
    """
    if frame.empty:
        return None
    rows: list[Row] = []
    place = 0
    for heading, block in frame.groupby(group, sort=False):
        rows.append({"row": place, "heading": str(heading)})
        for words, entries in block.groupby(label, sort=False):
            place += 1
            rows += _forest_rows(place, str(words), entries)
        place += 1
    shown = [execution for execution in _EXECUTIONS if execution in set(frame["execution"])]
    repetitions = int(frame["repetitions"].min())
    spoken = [
        f"{entry[label]}, {entry['execution']} {float(entry['ratio']):.2f}"
        for entry in frame.head(6).to_dict("records")
    ]
    return Figure(
        name,
        f"{title}, n = {plural(repetitions, 'repetition')}",
        "Left of 1 the first cell takes less time for a training step, right of it the second. Lines: 95% intervals "
        "over repetitions. Hollow diamond: the ratio of their operations. Fastest: each cell under whichever execution "
        "took less time.",
        "Time ratios: " + "; ".join(spoken) + ".",
        single(_forest_chart(frame, shown), _STEP * place),
        tuple(rows),
    )


def _forest_rows(place: int, words: str, entries: pd.DataFrame) -> Iterator[Row]:
    said = ", ".join(f"{entry['execution']} {float(entry['ratio']):.2f}" for entry in entries.to_dict("records")
                     if entry["execution"] != FASTEST)  # fmt: skip
    flops = float(entries["flop_ratio"].iloc[0])
    named: Row = {"row": place, "name": words, "said": said, "one": 1}
    yield named | ({"flops": flops} if math.isfinite(flops) else {})
    for entry in entries.to_dict("records"):
        ratio, low, high = (float(entry[column]) for column in ("ratio", "low", "high"))
        yield {"row": place, "execution": str(entry["execution"]), "of": words, "ratio": ratio, "low": low,
               "high": high, "interval": f"{number(ratio)} {bounds(low, high)}"}  # fmt: skip


def _forest_chart(frame: pd.DataFrame, shown: Sequence[str]) -> alt.LayerChart:
    values = pd.concat([frame["low"], frame["high"], frame["ratio"], frame["flop_ratio"]]).dropna()
    low, high = min(0.8, float(values.min())) / 1.05, max(1.25, float(values.max())) * 1.05
    axis = alt.Axis(values=_ticks(low, high), format="~g", title="time ratio, log scale")
    x = alt.X("one:Q", scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis)
    base = alt.Chart().encode(y=row())
    size = _APART * len(shown) + 6
    marks = [
        base.mark_tick(style="reference", thickness=1, size=size, yOffset=INTERVAL).encode(x=x),
        base.mark_point(style="quiet", shape="diamond", filled=False, size=70, opacity=1, yOffset=INTERVAL).encode(
            x="flops:Q"
        ),
    ]
    arms = theme.Arms(_EXECUTIONS, tuple(shown))
    for position, execution in enumerate(shown):
        offset = INTERVAL + _APART * (position - (len(shown) - 1) / 2)
        one = base.transform_filter(alt.datum.execution == execution).encode(
            tooltip=["of:N", "execution:N", "interval:N"]
        )
        marks += [
            one.mark_rule(strokeWidth=2, yOffset=offset).encode(x="low:Q", x2="high:Q", color=arms.colour("execution")),
            one.mark_point(filled=True, size=65, opacity=1, yOffset=offset).encode(
                x="ratio:Q", color=arms.colour("execution"), shape=arms.shape("execution")),
        ]  # fmt: skip
    return layered(*marks, *texts(base))


def _ticks(low: float, high: float) -> list[float]:
    """Round ratios within the bounds, few enough to be read."""
    inside = [tick for tick in _TICKS if low <= tick <= high]
    while len(inside) > _MOST_TICKS:
        inside = [tick for place, tick in enumerate(inside) if tick == 1 or (place - inside.index(1)) % 2 == 0]
    return inside


def parts(frame: pd.DataFrame, label: str) -> Figure | None:
    """What each difference under torch is made of: bars on the log scale, which add up to the measured ratio.

    frame: as `analysis.duels.shares` gives it, with a column of words, label.
    """
    if frame.empty:
        return None
    rows = [drawn for place, entry in enumerate(frame.to_dict("records")) for drawn in _part_rows(place, entry, label)]
    ends = [float(str(entry[side])) for entry in rows for side in ("from", "to") if side in entry]
    spoken = [f"{entry[label]}, {_product(entry)}" for entry in frame.head(6).to_dict("records")]
    return Figure(
        "shares",
        f"What a difference in training time is made of: {plural(len(frame), 'comparison')} under torch",
        "Bars to the left make the first cell cheaper, bars to the right the second; on the log scale they add up to "
        "the time ratio under torch (the black mark). Arithmetic: the ratio of operations. Memory: what remains of the "
        "ratio under step: memory traffic, elementwise and common work. Kernel: what PyTorch's kernels change.",
        "Time ratio under torch as arithmetic times memory times kernel: " + "; ".join(spoken) + ".",
        single(_parts_chart(min(ends), max(ends)), 46 * len(frame)),
        tuple(rows),
    )


def _part_rows(place: int, entry: Entry, label: str) -> Iterator[Row]:
    yield {"row": place, "name": str(entry[label]), "said": _product(entry), "zero": 0,
           "total": math.log(float(str(entry["total"])))}  # fmt: skip
    ends = {-1: 0.0, 1: 0.0}  # how far bars reach on either side
    for part in _PARTS:
        size = math.log(float(str(entry[part])))
        side = -1 if size < 0 else 1
        yield {"row": place, "part": part, "of": str(entry[label]), "from": ends[side], "to": ends[side] + size,
               "factor": number(float(str(entry[part]))),
               "share": f"{100 * float(str(entry[f'{part}_share'])):.0f}%"}  # fmt: skip
        ends[side] += size


def _product(entry: Entry) -> str:
    """Such as `1.21 = 0.75 × 1.03 × 1.57`."""
    factors = " × ".join(number(float(str(entry[part]))) for part in _PARTS)
    return f"{number(float(str(entry['total'])))} = {factors}"


def _parts_chart(low: float, high: float) -> alt.LayerChart:
    low, high = min(low, math.log(0.8)) - 0.05, max(high, math.log(1.25)) + 0.05
    ticks = [math.log(tick) for tick in _ticks(math.exp(low), math.exp(high))]
    axis = alt.Axis(
        values=ticks, labelExpr="format(exp(datum.value), '~r')", title="factor of the time ratio, log scale"
    )
    x = alt.X("from:Q", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    arms = theme.Arms(_PARTS, _PARTS)
    base = alt.Chart().encode(y=row())
    return layered(
        base.mark_bar(size=15, yOffset=INTERVAL).encode(
            x=x, x2="to:Q", color=arms.colour("part"), tooltip=["of:N", "part:N", "factor:N", "share:N"]),
        base.mark_tick(style="reference", thickness=1, size=24, yOffset=INTERVAL).encode(x="zero:Q"),
        base.mark_tick(style="mean", thickness=3, size=24, yOffset=INTERVAL).encode(x="total:Q"),
        *texts(base),
    )  # fmt: skip


def recurrent_pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose cells both recur; all rows where there are none."""
    if frame.empty:
        return frame
    both = frame["first"].map(recurs) & frame["second"].map(recurs)
    return frame[both] if both.any() else frame
