"""`python -m bench status`: what has finished, runs, failed, was interrupted or is missing, and the time left.

Without sweep= a row for every question of the results folder; with it one for every cell of that question.
--watch keeps it on the screen, --json prints one document for scripts.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError, did_you_mean
from bench.runs.store import Store
from bench.sweeps.status.overview import JSON_SCHEMA_VERSION, overviews
from bench.sweeps.status.state import Snapshot

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

USAGE = "python -m bench status [sweep=NAME] [results=DIR] [--watch | --json]"

_KEYS = ("sweep", "results", "--watch", "--json")
_REFRESH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. sweep: the name of a question, None for all;  json, watch: how it is shown."""

    sweep: str | None
    results: Path
    json: bool
    watch: bool


def status(arguments: Sequence[str]) -> int:
    """Show what has become of every run, once or until Ctrl-C.

    Raises: `UserError` for arguments it does not know, a question that does not exist, and where there are no results.
    """
    request = _parse(arguments)
    with _warnings_once():
        if request.json:
            print(json.dumps(_document(request), indent=1))
        elif request.watch:
            _watch(request)
        else:
            _print(_console(), _view(request))
    return 0


def _parse(arguments: Sequence[str]) -> Request:
    """The arguments as a request.

    Raises: `UserError` for unknown keys, empty values, and flags that exclude each other.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in _KEYS or (key.startswith("-") and value):
            raise UserError(f"status: unknown argument '{argument}': {did_you_mean(key, _KEYS)} ({USAGE})")
        if not value and not key.startswith("-"):
            raise UserError(f"status: {key} needs a value ({USAGE})")
        given[key] = value
    if "--watch" in given and "--json" in given:
        raise UserError(f"status: --watch is for people and --json for scripts: leave one out ({USAGE})")
    return Request(
        sweep=given.get("sweep"), results=Path(given.get("results", "results")).expanduser(),
        json="--json" in given, watch="--watch" in given,
    )  # fmt: skip


@contextmanager
def _warnings_once() -> Iterator[None]:
    """What is skipped while records and plans are read is said on standard error, each time only once."""
    said = set[str]()

    class Once(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage()
            if line not in said:
                said.add(line)
                print(f"bench: {line}", file=sys.stderr)

    handler, logger = Once(), logging.getLogger("bench")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _document(request: Request) -> dict[str, object]:
    """Everything, for scripts."""
    found = overviews(Snapshot(Store(request.results)), request.sweep)
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "results": str(request.results),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "questions": [overview.as_tree() for overview in found],
    }


def _watch(request: Request) -> None:
    """Show it again every two seconds, until Ctrl-C."""
    from rich.console import Group
    from rich.live import Live

    console = _console()
    try:
        if not console.is_terminal:  # no line can be taken back
            while True:
                _print(console, _view(request))
                time.sleep(_REFRESH_SECONDS)
        with Live(Group(*_view(request)), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH_SECONDS)
                live.update(Group(*_view(request)), refresh=True)
    except KeyboardInterrupt:
        return


def _print(console: Console, parts: Sequence[Table | Text]) -> None:
    """Lines are not broken: whoever reads them through a pipe finds each whole."""
    from rich.table import Table

    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120  # nobody's window is too narrow
    return console


def _view(request: Request) -> list[Table | Text]:
    """Everything, for people."""
    from bench.sweeps.status import overview_tables as tables

    found = overviews(Snapshot(Store(request.results)), request.sweep)
    if not found:
        raise UserError(f"no runs in {request.results} yet: `python -m bench` makes one, results=DIR looks elsewhere")
    parts: list[Table | Text] = [
        tables.one_question(found[0]) if request.sweep and len(found) == 1 else tables.all_questions(found)
    ]
    if any(overview.running for overview in found):
        parts.append(tables.running(found))
    return [*parts, *(line for overview in found for line in tables.remarks(overview))]
