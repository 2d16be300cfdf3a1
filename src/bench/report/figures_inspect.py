"""The running prediction and the norms of the states along a text, as lines."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from bench.report import theme
from bench.report.figures import Figure, Row, layered, single
from bench.report.figures_panels import in_panels
from bench.report.inspected import Inspected, percent
from bench.report.tokens import visible

_HEIGHT = 220
_NAMED = 30  # tokens up to which an axis names them
_MARKED = 120  # tokens up to which each has a mark


def running_figure(key: str, readings: Sequence[Inspected]) -> Figure:
    """The probability of one class after each token, a line a run. readings: of the same tokens."""
    first = readings[0]
    label, time = first.label, len(first.tokens)
    arms = theme.Arms(tuple(one.run.name for one in readings), tuple(one.run.name for one in readings))
    tooltip = [
        *(alt.Tooltip(name) for name in ("arm:N", "token:N", "place:Q", "predicted:N")),
        alt.Tooltip("shown:N", title=f"P({label})"),
    ]
    base = alt.Chart().encode(
        x=_along([str(row["word"]) for row in _running_rows(first, label)]),
        y=alt.Y("probability:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="probability", format="%")),
        color=arms.colour(lines=True),
        tooltip=tooltip,
    )
    marks = [base.mark_line(strokeWidth=2).encode(strokeDash=arms.dash())]
    if time <= _MARKED:
        marks.append(base.mark_point(filled=True, size=60, opacity=1))
    spoken = "; ".join(f"{one.run.name}, {percent(_probability(one, label)[-1])} at the end" for one in readings)
    return Figure(
        f"running-{key}",
        f"Probability of {label} after each token",
        "What the network would say had the text ended there. A network that reads forward sees the same beginning "
        "either way; backward directions and attention read it as if there were no more.",
        f"Probability of {label} along {time} tokens: {spoken}.",
        single(layered(*marks), _HEIGHT),
        tuple(row for one in readings for row in _running_rows(one, label)),
    )


def _running_rows(one: Inspected, label: str) -> list[Row]:
    probabilities = _probability(one, label)
    best = one.reading.running.argmax(axis=1).tolist()
    return [
        {"arm": one.run.name, "place": place, "word": f"{place} {visible(token)}", "token": visible(token),
         "probability": value, "shown": percent(value), "predicted": one.run.labels[predicted]}
        for place, (token, value, predicted) in enumerate(zip(one.tokens, probabilities, best, strict=True), 1)
    ]  # fmt: skip


def _probability(one: Inspected, label: str) -> list[float]:
    """Of this class after each token; zero where a run does not know the class."""
    if label not in one.run.labels:
        return [0.0] * len(one.tokens)
    return [float(value) for value in one.reading.running[:, one.run.labels.index(label)]]


def _along(words: list[str]) -> alt.X:
    """Tokens by name where there is room, else by number. words: each behind its place and a blank."""
    if len(words) > _NAMED:
        scale = alt.Scale(domain=[1, len(words)], nice=False)
        return alt.X("place:Q", scale=scale, axis=alt.Axis(title="token", grid=False, format="d", tickMinStep=1))
    without_place = "slice(datum.label, indexof(datum.label, ' ') + 1)"
    axis = alt.Axis(title=None, labelExpr=without_place, labelAngle=0 if len(words) <= 8 else -90, labelLimit=90)
    return alt.X("word:N", sort=words, axis=axis)


def norms_figure(key: str, readings: Sequence[Inspected]) -> Figure | None:
    """Euclidean norms of the last layer's states, a panel a run; None where no run has states."""
    rows = [row for one in readings for row in _norm_rows(one)]
    if not rows:
        return None
    series = tuple(dict.fromkeys(str(row["arm"]) for row in rows))
    panels = list(dict.fromkeys(str(row["task"]) for row in rows))
    arms = theme.Arms(series, series)
    time = max(len(one.tokens) for one in readings)
    base = alt.Chart().encode(
        x=alt.X("place:Q", axis=alt.Axis(title="token", grid=False, format="d", tickMinStep=1)),
        y=alt.Y("norm:Q", axis=alt.Axis(title="Euclidean norm", tickCount=5, minExtent=36)),
        color=arms.colour(lines=True),
        tooltip=["task:N", "arm:N", "token:N", "place:Q", "norm:Q"],
    )
    marks = [base.mark_line(strokeWidth=2).encode(strokeDash=arms.dash())]
    if time <= _MARKED:
        marks.append(base.mark_point(filled=True, size=40, opacity=1))
    return Figure(
        f"norms-{key}",
        "Norms of the states of the last layer",
        "h is what a layer hands on, c what an LSTM keeps beside it. One panel a run, each with its own scale.",
        f"Norms of {', '.join(series)} along the text for {', '.join(panels)}.",
        in_panels(layered(*marks), panels, height=_HEIGHT - 40, least=320),
        tuple(rows),
    )


def _norm_rows(one: Inspected) -> list[Row]:
    layers = one.reading.layers
    last = [layer for layer in layers if layer.layer == layers[-1].layer]
    both = len(last) > 1
    return [
        {"task": one.run.name, "arm": f"{state.name}{f', {layer.direction}' if both else ''}", "place": place,
         "token": visible(one.tokens[place - 1]), "norm": float(norm)}
        for layer in last for state in layer.states for place, norm in enumerate(state.norms, 1)
    ]  # fmt: skip
