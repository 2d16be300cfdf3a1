"""Tables of several results folders put together: copies dropped, records that contradict each other set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.runs.record import Status
from bench.runs.science import science_columns

EXECUTION = ("run_id", "execution_id")
_ORDER = ("started_at", "run_id", "execution_id")
# What a run id stands for beside the declared configuration, as far as records hold it.
_RESOLVED = (
    "code_version", "data_fingerprint", "embedding_fingerprint", "embedding_dimension", "hidden_size_resolved",
    "kernel",
)  # fmt: skip


def without_conflicts(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Records of one or several folders that can be trusted to be what their ids say, first started first.

    Of identical rows one stays. Set aside are all records of one run and execution that differ in anything, and all
    finished executions of one run that differ in what its id is the hash of (an edited record).
    table: one row a record, as `bench.records` gives it, several of them concatenated.
    Returns: the rows that stay, and one line for each run or execution that was set aside.
    """
    if table.empty:
        return table.reset_index(drop=True), []
    rows = table.sort_values(list(_ORDER), kind="stable", ignore_index=True)
    rows, unclear = _one_row_an_execution(rows)
    rows, edited = _one_configuration_a_run(rows)
    return rows.reset_index(drop=True), [*unclear, *edited]


def _one_row_an_execution(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    repeated = table[table.duplicated(list(EXECUTION), keep=False)]
    contradictions = _contradictions(repeated, EXECUTION, [name for name in map(str, table) if name not in EXECUTION])
    apart = repeated.index[np.concatenate([[], *(rows for rows, _ in contradictions)]).astype(int)]
    copies = repeated.index[repeated.duplicated(list(EXECUTION))]
    names = repeated[list(EXECUTION)].to_numpy(object)
    reasons = [
        f"run {names[rows[0]][0]}, execution {names[rows[0]][1]}: {len(rows)} records of this name differ in {what}; "
        "all set aside: remove the ones that were edited or damaged"
        for rows, what in contradictions
    ]
    return table.drop(index=apart.union(copies)), reasons


def _one_configuration_a_run(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    finished = table[table.status == Status.FINISHED]
    repeated = finished[finished.duplicated("run_id", keep=False)]
    named = [*science_columns(table.columns), *(name for name in _RESOLVED if name in table)]
    contradictions = _contradictions(repeated, ("run_id",), named)
    apart = repeated.index[np.concatenate([[], *(rows for rows, _ in contradictions)]).astype(int)]
    names = repeated.run_id.to_numpy(object)
    reasons = [
        f"run {names[rows[0]]}: its {len(rows)} finished executions differ in {what}, and one id stands "
        "for one configuration; all set aside: remove the ones that were edited"
        for rows, what in contradictions
    ]
    return table.drop(index=apart), reasons


def _contradictions(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> list[tuple[np.ndarray, str]]:
    """Of each group of rows that hold several values in one of these columns: their positions, and which values.

    An absent value is a value of its own.
    """
    groups = table.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    first = order[starts][groups]  # (rows,) position of the first row of each row's group
    names: dict[int, list[str]] = {}
    values: dict[str, np.ndarray] = {}
    for name in columns:
        code = _codes(table[name])
        found = np.unique(groups[code != code[first]]).tolist()
        if found:
            values[name] = table[name].to_numpy(object)
        for group in found:
            names.setdefault(group, []).append(name)
    members = np.split(order, starts[1:])
    return [(members[group], _described(values, members[group], names[group])) for group in sorted(names)]


def _codes(values: pd.Series) -> np.ndarray:
    """An integer for each value, equal where the values are."""
    plain = values.map(repr) if values.dtype == object else values  # may hold lists, which have no hash
    return pd.factorize(plain, use_na_sentinel=False)[0]


def _described(values: Mapping[str, np.ndarray], rows: np.ndarray, names: Sequence[str]) -> str:
    """The first column that differs, with its values, and how many more do. values: of the columns, by position."""
    shown = ", ".join(dict.fromkeys(_short(value) for value in values[names[0]][rows]))
    more = len(names) - 1
    return f"{names[0]} ({shown})" + (f" and {more} more column{'s'[: more > 1]}" if more else "")


def _short(value: object) -> str:
    absent = value is None or value is pd.NA or value != value  # noqa: PLR0124
    text = "absent" if absent else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
