"""How far a file has come, downloaded or read: a bar in a terminal, elsewhere a line every few seconds; on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LINE_SECONDS = 5.0

Show = Callable[[int, int | None], None]  # bytes that are here, bytes there are in all


@contextmanager
def shown(name: str) -> Iterator[Show]:
    """Show how far a file has come for as long as the block lasts."""
    if sys.stderr.isatty():
        with _bar(name) as show:
            yield show
    else:
        yield _Lines(name)


@contextmanager
def _bar(name: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda here, total: progress.update(task, completed=here, total=total)


class _Lines:
    """A line at the beginning, and another one every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun: float | None = None
        self._first = 0
        self._next = 0.0

    def __call__(self, here: int, total: int | None) -> None:
        now = time.monotonic()
        if self._begun is None:
            self._begun, self._first = now, here
        if now < self._next:
            return
        self._next = now + _LINE_SECONDS
        of_all = f" of {megabytes(total)}" if total is not None else ""
        seconds = now - self._begun
        speed = f", {megabytes((here - self._first) / seconds)}/s" if seconds > 1 else ""
        print(f"{self._name}: {megabytes(here)}{of_all}{speed}", file=sys.stderr, flush=True)


def megabytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:,.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
