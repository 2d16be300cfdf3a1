"""A duel in one sentence: the ratio at the centre under each execution, and what that says of cell and kernel."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import pandas as pd

from bench.analysis.duel_meetings import FASTEST, SETTING, recurs

Side = Literal["cheaper", "dearer", "open"]
Row = Mapping[Hashable, str | int | float | bool | None]

_MATCHING = {"width": "equal width", "parameters": "equal parameters"}
_CAPITALS = ("gru", "lstm", "rnn", "cifg", "mgu")


def name_of(cell: str) -> str:
    """A cell's name as papers write it."""
    return "-".join(part.upper() if part in _CAPITALS else part for part in cell.split("_"))


def pair_name(first: str, second: str) -> str:
    """Such as `GRU over LSTM`."""
    return f"{name_of(first)} over {name_of(second)}"


def sentence(ratios: pd.DataFrame, centre: tuple[int, int, int], accelerator: str = "cpu") -> str:
    """What a duel found at its centre, in one sentence. ratios: as `analysis.duels.ratios` gives them.

    centre: length, batch size, width;  accelerator: `cpu` or `cuda`, where PyTorch's kernels ran.
    """
    rows = main_rows(ratios, centre)
    if rows.empty:
        return "Nothing was compared."
    entries: Sequence[Row] = rows.to_dict("records")
    first = entries[0]
    where = f"{centre[0]} tokens, {centre[1]} texts, {centre[2]} units"
    if first["comparison"] == "kernels":
        said = f"{name_of(str(first['first']))}, step over torch ({where}): {_written(first)}"
        return f"{said}: {_of_kernels(_side(first))}."
    matching = _MATCHING[str(first["matching"])]
    pair = f"{pair_name(str(first['first']), str(first['second']))} at {matching} ({where})"
    by_execution = {str(row["execution"]): row for row in entries}
    said = ", ".join(f"{_written(row)} under {execution}" for execution, row in by_execution.items())
    return f"{pair}: {said}: {_conclusion(by_execution, accelerator)}."


def main_rows(ratios: pd.DataFrame, centre: tuple[int, int, int]) -> pd.DataFrame:
    """The rows at the centre that the sentence speaks of: one pair, one matching, torch before step."""
    here = at(ratios, centre)
    cells = here[here["comparison"] == "cells"] if not here.empty else here
    if cells.empty:
        return here[:1]
    recurrent = cells[cells["first"].map(recurs) & cells["second"].map(recurs)]
    pair = next(iter(_pairs(recurrent if not recurrent.empty else cells)))
    rows = cells[(cells["first"] == pair[0]) & (cells["second"] == pair[1]) & (cells["execution"] != FASTEST)]
    rows = rows[rows["matching"] == ("width" if (rows["matching"] == "width").any() else "parameters")]
    return rows.sort_values("execution", ascending=False)  # torch, step


def at(frame: pd.DataFrame, centre: tuple[int, int, int]) -> pd.DataFrame:
    """The rows of one setting."""
    if frame.empty:
        return frame
    return frame[(frame[SETTING] == list(centre)).all(axis=1)]


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """GRU against LSTM first, the question of this program, then as they come."""
    found = list(dict.fromkeys(zip(rows["first"].astype(str), rows["second"].astype(str), strict=True)))
    return sorted(found, key=lambda pair: pair != ("gru", "lstm"))


def _written(row: Row) -> str:
    ratio, low, high = (float(str(row[name])) for name in ("ratio", "low", "high"))
    return f"{ratio:.2f}" + (f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) else "")


def _side(row: Row) -> Side:
    low, high = float(str(row["low"])), float(str(row["high"]))
    if high < 1:
        return "cheaper"
    return "dearer" if low > 1 else "open"


def _of_kernels(side: Side) -> str:
    return {
        "cheaper": "PyTorch's kernel is not the fastest one",
        "dearer": "PyTorch's kernel is the faster one",
        "open": "the difference is within the noise",
    }[side]


def _conclusion(rows: Mapping[str, Row], accelerator: str) -> str:
    """What the two executions say together, or the one that there is."""
    kernel = f"PyTorch's {'CPU' if accelerator == 'cpu' else 'GPU'} kernel"
    sides = {execution: _side(row) for execution, row in rows.items()}
    if len(sides) == 1:
        side = next(iter(sides.values()))
        return "the difference is within the noise" if side == "open" else f"the first is {side}"
    found = sides["step"], sides["torch"]
    return {
        ("cheaper", "dearer"): f"the architecture is cheaper, {kernel} is not",
        ("cheaper", "cheaper"): "the architecture is cheaper, under either execution",
        ("cheaper", "open"): f"the architecture is cheaper, under {kernel} that is open",
        ("dearer", "cheaper"): f"the architecture is dearer, {kernel} makes up for it",
        ("dearer", "dearer"): "the architecture is dearer, under either execution",
        ("dearer", "open"): f"the architecture is dearer, under {kernel} that is open",
        ("open", "cheaper"): f"the architectures cannot be told apart, {kernel} favours the first",
        ("open", "dearer"): f"the architectures cannot be told apart, {kernel} favours the second",
        ("open", "open"): "the difference is within the noise under either execution",
    }[found]
