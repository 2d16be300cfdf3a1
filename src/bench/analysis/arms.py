"""What is compared: the columns that a key or group stands for, and what its values are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.errors import UserError, did_you_mean
from bench.models.sizes import LINEAR_KEYS, SIMPLEST_FIRST
from bench.runs.science import GROUPS, science_columns

# What follows from what is compared, and may therefore differ as well. The width is told apart by the matching.
_FOLLOWERS = {
    "model": ("model.forget_bias", "model.heads", *(f"model.{name}" for name in LINEAR_KEYS)),
    "embedding": ("embedding_fingerprint", "embedding_dimension"),
    "data": ("data_fingerprint",),
}


def compared_columns(records: pd.DataFrame, compare: str) -> list[str]:
    """The columns of the configuration that a key or group stands for.

    Raises: `UserError` if there is none.
    """
    science = [str(name) for name in science_columns(map(str, records)) if name != "seed"]
    columns = [name for name in science if name == compare or name.startswith(f"{compare}.")]
    if compare == "data":
        columns.append("data.name")
    if compare == "model.kernel" and "kernel" in records:
        return ["kernel"]  # what ran, whatever was declared
    if not columns:
        raise UserError(f"compare={compare}: {did_you_mean(compare, [*GROUPS, *science])}")
    return columns


def followers(compare: str) -> tuple[str, ...]:
    """Columns that may differ because what is compared does."""
    return _FOLLOWERS.get(compare.partition(".")[0], ())


def arm_labels(runs: pd.DataFrame, compare: str, compared: Sequence[str]) -> pd.Series:
    """What tells the arms apart, in words: `gru`, `bidirectional=true`, `glove trainable=false`."""
    if compare in ("model.cell", "data.name", "embedding.name"):
        return runs[compare].astype(str)
    varying = [name for name in compared if runs[name].nunique(dropna=False) > 1] or list(compared[:1])
    named = next((name for name in (f"{compare}.name", f"{compare}.cell") if name in varying), None)
    rest = [name for name in varying if name != named]
    label = runs[named].astype(str) if named else pd.Series("", index=runs.index)
    if named:
        rest = [name for name in rest if (runs.groupby(named, dropna=False)[name].nunique(dropna=False) > 1).any()]
    for name in rest:
        label = label + " " + name.rpartition(".")[2] + "=" + runs[name].map(word)
    return label.str.strip()


def word(value: object) -> str:
    """A value of a configuration as it is typed."""
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124
        return "null"
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def simplicity(arm: str) -> tuple[int, float, str]:
    """Order of arms, simplest first: cells by their parameters, numbers by size, what is off before what is on."""
    if arm in SIMPLEST_FIRST:
        return SIMPLEST_FIRST.index(arm), 0.0, arm
    value = arm.rpartition("=")[2]
    if value in ("false", "true", "random", "null"):
        return 0, float(value == "true"), arm
    try:
        return 1, float(value), arm
    except ValueError:
        return 2, 0.0, arm
