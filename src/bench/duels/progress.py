"""Live progress of a duel: a bar in a terminal, a line per repetition elsewhere."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console

from bench.runs.bar import FactsBar


class DuelProgress(FactsBar):
    """Shows how many blocks are done, what the centre says so far, and the time left, while it is open."""

    def __init__(self, console: Console, blocks: int) -> None:
        """blocks: of all repetitions together."""
        super().__init__(console, "measuring", blocks)
        self._blocks = blocks
        self._done, self._begun, self._facts = 0, time.monotonic(), ""

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        return super().__enter__()

    def block_done(self) -> None:
        """One block more."""
        self._done += 1
        self.show(self._done, "  ".join(filter(None, [self._facts, self._left()])))

    def repetition_done(self, number: int, repetitions: int, facts: str) -> None:
        """A whole repetition more. number: from 1;  facts: what the centre says so far."""
        self._facts = facts
        line = f"repetition {number}/{repetitions}  {facts}  {self._left()}"
        self.console.print(line, highlight=False, markup=False)

    def _left(self) -> str:
        seconds = (time.monotonic() - self._begun) / max(self._done, 1) * (self._blocks - self._done)
        return f"{minutes(seconds)} left"


def minutes(seconds: float) -> str:
    """Such as `3:05 min`, `40 s`."""
    whole, rest = divmod(round(seconds), 60)
    return f"{whole}:{rest:02} min" if whole else f"{rest} s"
