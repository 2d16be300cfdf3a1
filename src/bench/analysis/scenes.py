"""Scenes: what is held equal while arms are compared, under names that people know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis.arms import word
from bench.analysis.executions import DECLARED
from bench.declarations import BASELINES
from bench.models.sizes import LINEAR, WIDTH_AS_GIVEN, means_nothing

MATCHINGS = ("parameters", "width", "time")
_NAMED = ("data.name", "embedding.name", "model.pooling")  # stand in a scene's name already


@dataclass(frozen=True, kw_only=True, order=True)
class Scene:
    """What is held equal while arms are compared; empty where it is what is compared.

    others: what tells it from a scene of the same four names, such as `training.epochs=4`;  execution: as declared.
    """

    dataset: str
    embedding: str
    pooling: str
    matching: str
    others: str = ""
    execution: str = ""

    @property
    def task(self) -> str:
        """A name for people of what is learnt: data and vectors."""
        return " · ".join(part for part in (self.dataset, self.embedding, self.others) if part)


def dataset_names(runs: pd.DataFrame) -> pd.Series:
    """The corpus by name; the reader's own ones by their folder's."""
    names = runs["data.name"].astype(str)
    local = names == "local"
    if local.any():
        folders = runs["data.path"].astype(str).str.rstrip("/").str.rpartition("/")[2]
        names = names.where(~local, folders)
    return names


def by_matching(runs: pd.DataFrame) -> pd.DataFrame:
    """Each run once for every matching that it answers: an LSTM is as wide as it is large, a bag has no width."""
    timed = runs["model.match"] == "time"
    plain = (runs["hidden_size_resolved"] == runs["model.hidden_size"]) | (runs["model.cell"] == LINEAR)
    sized = (runs["model.match"] == "parameters") | runs["model.cell"].isin(WIDTH_AS_GIVEN)
    answered = {"parameters": sized & ~timed, "width": plain & ~timed, "time": timed}
    return pd.concat([runs[rows].assign(matching=name) for name, rows in answered.items()], ignore_index=True)


def beside_cells(runs: pd.DataFrame, held: Sequence[str]) -> pd.DataFrame:
    """A baseline's run once for all that others were given and that means nothing to it, such as a direction.

    held: columns that must be equal within a scene.
    """
    beside = runs[~runs["model.cell"].isin(BASELINES)]
    for cell in BASELINES:
        repeated = [
            _once_for_each(
                own, beside, [name for name in held if means_nothing(name, cell, str(match))]
            )
            for match, own in runs[runs["model.cell"] == cell].groupby("model.match")
        ]
        beside = pd.concat([table for table in (beside, *repeated) if len(table)], ignore_index=True)
    return beside


def _once_for_each(runs: pd.DataFrame, others: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The runs, once with each of the others' combinations of values in these columns."""
    if not columns or others.empty:
        return runs
    return runs.drop(columns=columns).merge(others[columns].drop_duplicates(), how="cross")[runs.columns]


def numbered(runs: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """A number for each distinct combination of values, from 0."""
    varying = [name for name in columns if runs[name].nunique(dropna=False) > 1]
    if not varying:
        return pd.Series(0, index=runs.index)
    return runs.groupby(varying, dropna=False, sort=True).ngroup()


def scenes_of(runs: pd.DataFrame, held: Sequence[str], compare: str) -> tuple[Scene, ...]:
    """The scenes in the order of their numbers (column `scene`), each with what tells it from its namesakes."""
    first = runs.drop_duplicates("scene").sort_values("scene")
    names = {
        "dataset": "dataset" if compare != "data" else "",
        "embedding": "embedding.name" if compare not in ("embedding", "embedding.name") else "",
        "pooling": "model.pooling" if compare not in ("model", "model.pooling") else "",
        "matching": "matching",
    }
    own = {key: _words(first[column]) if column else pd.Series("", first.index) for key, column in names.items()}
    labels = pd.DataFrame(own)
    namesakes = labels.groupby(list(names), dropna=False).ngroup()
    rest = [name for name in held if name not in (*_NAMED, "dataset", "matching", "data_fingerprint")]
    told = [name for name in rest if name == DECLARED and first[name].nunique() > 1]
    for name in rest:  # only what tells more scenes apart than the names before it
        finer = first.groupby([namesakes, *told, name], dropna=False).ngroups
        if finer > first.groupby([namesakes, *told], dropna=False).ngroups:
            told.append(name)
    others = [" ".join(f"{name}={word(row[name])}" for name in told) for _, row in first.iterrows()]
    ran = first[DECLARED].astype(str) if DECLARED in held else [""] * len(first)
    rows = zip(labels.to_numpy(object).tolist(), others, ran, strict=True)
    return tuple(
        Scene(dataset=data, embedding=vectors, pooling=pooling, matching=matching, others=other, execution=execution)
        for (data, vectors, pooling, matching), other, execution in rows
    )


def _words(column: pd.Series) -> pd.Series:
    """Names; where tuning has chosen them, for each arm its own."""
    return column.astype(object).where(column.notna(), "tuned").astype(str)
