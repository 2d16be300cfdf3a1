"""`diff=A..B`: which records each side means, a results folder or a version of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pandas as pd

from bench.errors import UserError, did_you_mean
from bench.runs.store import Store

_SHORTEST_COMMIT = 4


class Records(Protocol):
    """What records can be read from, such as a `Store`."""

    @property
    def results(self) -> Path:
        """The folder that messages name."""

    def table(self) -> pd.DataFrame:
        """All records, one row an execution."""


def both_sides(request: str, results: Records) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The records of `A..B`, where A and B are results folders, or code versions or commits within `results`.

    A folder may hold two dots itself (`../a..../b`): the first division of which both sides are found counts.
    Raises: `UserError`, one line, if there are not two sides, or one of them is not found.
    """
    marks = [at for at in range(1, len(request) - 2) if request[at : at + 2] == ".."]
    if not marks:
        raise UserError(f"diff={request}: write diff=A..B, two results folders or two code versions")
    problems = []
    for at in marks:
        try:
            return split(request[:at], results), split(request[at + 2 :], results)
        except UserError as error:
            problems.append(error)
    raise problems[0] if len(problems) == 1 else UserError(f"diff={request}: {problems[-1]}")


def split(name: str, results: Records) -> pd.DataFrame:
    """The records that one side of `diff=A..B` means: a folder's, else those of a code version or commit in `results`.

    Raises: `UserError`, one line, if there are none, or if the beginning of a name fits several.
    """
    if Path(name).expanduser().is_dir():
        table: pd.DataFrame = Store(name).table()
        if table.empty:
            raise UserError(f"diff: {name} holds no records: name a results folder, one that holds runs/")
        return table
    table = results.table()
    for column, shortest in (("code_version", 1), ("commit", _SHORTEST_COMMIT)):
        known = sorted(set(table[column].dropna()))
        found = [version for version in known if version.startswith(name)] if len(name) >= shortest else []
        if len(found) > 1:
            raise UserError(f"diff: '{name}' begins {len(found)} versions, add letters: {', '.join(found[:6])}")
        if found:
            chosen: pd.DataFrame = table[table[column] == found[0]].reset_index(drop=True)
            return chosen
    known = sorted({*table.code_version.dropna(), *(commit[:12] for commit in table.commit.dropna())})
    where = f"is no folder, and no code version or commit of the records in {results.results}"
    raise UserError(f"diff: '{name}' {where}: {did_you_mean(name, known, most=6) if known else 'it holds none'}")
