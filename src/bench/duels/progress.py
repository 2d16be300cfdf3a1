"""Live progress of a duel: a bar in a terminal, a line per repetition elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn


class DuelProgress:
    """Shows how many blocks are done, what the centre says so far, and the time left, while it is open."""

    def __init__(self, console: Console, blocks: int) -> None:
        """blocks: of all repetitions together."""
        self._console, self._blocks = console, blocks
        self._done, self._begun, self._facts = 0, time.monotonic(), ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> DuelProgress:
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("measuring", total=self._blocks, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def block_done(self) -> None:
        """One block more."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            facts = "  ".join(filter(None, [self._facts, self._left()]))
            self._bar.update(self._task, completed=self._done, facts=facts)

    def repetition_done(self, number: int, repetitions: int, facts: str) -> None:
        """A whole repetition more. number: from 1;  facts: what the centre says so far."""
        self._facts = facts
        line = f"repetition {number}/{repetitions}  {facts}  {self._left()}"
        self._console.print(line, highlight=False, markup=False)

    def _left(self) -> str:
        seconds = (time.monotonic() - self._begun) / max(self._done, 1) * (self._blocks - self._done)
        return f"{minutes(seconds)} left"


def minutes(seconds: float) -> str:
    """Such as `3:05 min`, `40 s`."""
    whole, rest = divmod(round(seconds), 60)
    return f"{whole}:{rest:02} min" if whole else f"{rest} s"
