"""A bar in a terminal, with a title before it and facts behind it; nothing where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn


class FactsBar:
    """Shows how far something has come while it is open."""

    def __init__(self, console: Console, title: str, total: int, facts: str = "") -> None:
        """total: of what is done step by step."""
        self.console = console
        self._bar = self._made() if console.is_terminal else None
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=total, facts=facts)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def is_shown(self) -> bool:
        """Whether anyone sees it; else no facts need be gathered, which may wait for a device."""
        return self._bar is not None

    def show(self, done: int, facts: str, title: str | None = None) -> None:
        """Move on. title: None to leave it as it is."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=title, facts=facts)

    def _made(self) -> Progress:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
        return Progress(*columns, console=self.console, transient=True)
