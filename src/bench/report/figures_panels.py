"""One panel a task: names for the panels, their layout, and rows from tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import altair as alt
import pandas as pd

from bench.analysis.pairing import Scene, Study
from bench.report.cells import MATCHINGS
from bench.report.figures import Row
from bench.report.numbers import interval_cell
from bench.report.theme import Arms

MAX_PANELS = 12  # of one figure
LEAST = 260  # pixels that a panel needs with its axes
AROUND = 76  # pixels that its axes take


def in_panels(
    chart: alt.LayerChart, names: Sequence[str], *, least: int = LEAST, around: int = AROUND, height: int = 170
) -> alt.FacetChart:
    """One panel for each name (column `task`), each with its own scales, in as many columns as there is room for."""
    header = alt.Header(title=None)
    faceted: alt.FacetChart = (
        chart.properties(height=height)
        .facet(facet=alt.Facet("task:N", sort=list(names), header=header), columns=3, spacing=12)
        .resolve_scale(x="independent", y="independent", xOffset="independent")
        .properties(usermeta={"panel": {"least": least, "around": around, "count": len(names)}})
    )
    return faceted


def first_panels(names: Sequence[str]) -> tuple[list[str], str]:
    """The panels that are drawn, and a sentence for the caption where that is not all of them."""
    drawn = list(names)[:MAX_PANELS]
    rest = len(names) - len(drawn)
    return drawn, f" The first {len(drawn)} of {len(names)} tasks; the others are in the table." if rest else ""


def with_task(frame: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The table with a column `task`, a name for each scene, and for each kind of hardware where there are several."""
    keys = ["scene", "hardware_key"] if "hardware_key" in frame else ["scene"]
    places = frame[keys].drop_duplicates().sort_values(keys)
    names = scene_names([study.scenes[int(scene)] for scene in places["scene"]])
    if "hardware_key" in frame and places["hardware_key"].nunique() > 1:
        names = [f"{name}, hardware {str(key)[:8]}" for name, key in zip(names, places["hardware_key"], strict=True)]
    return frame.merge(places.assign(task=unique(names)), on=keys).sort_values(keys, kind="stable", ignore_index=True)


def with_series(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `task`, a name for what is equal but for the number of training texts."""
    keys = ["dataset", "embedding", "pooling", "matching"]
    series = frame[keys].drop_duplicates().sort_values(keys)
    scenes = [Scene(dataset=str(dataset), embedding=str(embedding), pooling=str(pooling), matching=str(matching))
              for dataset, embedding, pooling, matching in series.itertuples(index=False)]  # fmt: skip
    return frame.merge(series.assign(task=unique(scene_names(scenes))), on=keys)


def scene_names(scenes: Sequence[Scene]) -> list[str]:
    """Data and vectors, and what is held equal where that differs among the scenes."""
    several_matchings = len({scene.matching for scene in scenes}) > 1
    several_poolings = len({scene.pooling for scene in scenes}) > 1
    names = []
    for scene in scenes:
        matching = f", {MATCHINGS.get(scene.matching, scene.matching)}" if several_matchings else ""
        names.append(scene.task + matching + (f", pooling {scene.pooling}" if several_poolings else ""))
    return names


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that came before."""
    seen: dict[str, int] = {}
    numbered = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        numbered.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return numbered


def arms_in(frame: pd.DataFrame, arms: Sequence[str]) -> Arms:
    """The study's arms, and those of them that occur in column `arm`."""
    present = {str(arm) for arm in frame["arm"]}
    every = (*arms, *sorted(present - set(arms)))
    return Arms(every, tuple(arm for arm in every if arm in present))


def tasks_of(frame: pd.DataFrame) -> list[str]:
    """The names in column `task`, in order."""
    return [str(task) for task in frame["task"].unique()]


def only(frame: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """The rows of these tasks."""
    return frame[frame["task"].isin(list(tasks))]


def rows_of(frame: pd.DataFrame, columns: Sequence[str]) -> list[Row]:
    """A row each, without what is missing."""
    records = frame[list(columns)].astype(object).to_dict("records")
    return [
        {str(name): value for name, value in record.items() if pd.notna(value)} for record in cast(list[Row], records)
    ]


def with_interval(frame: pd.DataFrame, column: str, digits: int = 1) -> pd.DataFrame:
    """The table with a column `shown`: the estimate and its interval in words."""
    rows = frame[[column, "low", "high"]].astype(object).itertuples(index=False)
    shown = [interval_cell(estimate, low, high, digits).text for estimate, low, high in rows]
    return frame.assign(shown=shown)


def quality(column: str, title: str = "quality (%)") -> alt.Y:
    """An axis of a few ticks for a small panel, from where the values begin."""
    return alt.Y(f"{column}:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=title, tickCount=5, minExtent=42))


def logarithmic(column: str, title: str, format: Literal["~g", "~s"] = "~g") -> alt.X:
    """A logarithmic axis without grid lines: those between the ticks would crowd a small panel."""
    axis = alt.Axis(title=f"{title}, log scale", grid=False, tickCount=4, format=format)
    return alt.X(f"{column}:Q", scale=alt.Scale(type="log", nice=False, padding=8), axis=axis)
