"""What a terminal shows while several runs take place: each with how far it has come, and the sweep as a whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.runs.lease import Progress, holder_of
from bench.sweeps.launchers.processes import Outcome
from bench.sweeps.launchers.queue import Queue
from bench.sweeps.plan import Member

_EVERY_SECONDS = 0.5

Running = Sequence[tuple[Member, datetime]]  # with the start in UTC


class LiveView:
    """Lies below what is printed while it is open; nothing where there is no terminal, or `wanted` is false."""

    def __init__(self, console: Console, queue: Queue, at_a_time: int, *, wanted: bool = True) -> None:
        """at_a_time: how many runs take place at a time."""
        self.queue = queue
        self.at_a_time = at_a_time
        self.finished = 0
        self.failed = 0
        self._seconds: list[float] = []  # that runs took
        self._shown = 0.0
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal and wanted else None
        )

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def ended(self, outcome: Outcome) -> None:
        """Count a run that has ended."""
        self.finished += outcome.code == 0
        self.failed += outcome.code != 0
        self._seconds.append((datetime.now(UTC) - outcome.started_at).total_seconds())

    def update(self, running: Running) -> None:
        """Show how things stand, twice a second at most."""
        now = time.monotonic()
        if self._live is not None and now - self._shown >= _EVERY_SECONDS:
            self._shown = now
            self._live.update(self.picture(running), refresh=True)

    def picture(self, running: Running) -> Group:
        """A line for the sweep, and one for each run."""
        progress = {member.run_id: _progress(self.queue.store.runs / member.run_id) for member, _ in running}
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for member, began in running:
            table.add_row(Text(member.choice.label), *_facts(progress[member.run_id]), _clock(_since(began)))
        return Group(Text(self._summary(running, progress), style="bold"), table)

    def _summary(self, running: Running, progress: dict[str, Progress | None]) -> str:
        facts = [
            f"{len(running)} running", f"{self.finished} finished", f"{self.failed} failed" if self.failed else "",
            f"{self.queue.waiting} waiting" if self.queue.waiting else "",
            f"{self.queue.elsewhere} in other sweeps" if self.queue.elsewhere else "",
            f"{self.queue.taken_over} by other sweeps" if self.queue.taken_over else "",
        ]  # fmt: skip
        left = self.seconds_left(running, progress)
        facts.append("" if left is None else f"about {_clock(left)} left")
        return ", ".join(filter(None, facts))

    def seconds_left(self, running: Running, progress: dict[str, Progress | None]) -> float | None:
        """Until all is done, if the runs to come take as long as those so far; None while nothing is known."""
        known = [(_since(began), progress[member.run_id]) for member, began in running]
        planned = [since + p.seconds_left for since, p in known if p is not None and p.seconds_left is not None]
        sample = self._seconds or planned
        if not sample:
            return None
        mean = sum(sample) / len(sample)
        left = [p.seconds_left if p and p.seconds_left is not None else max(mean - since, 0.0) for since, p in known]
        return max([(sum(left) + mean * self.queue.waiting) / self.at_a_time, *left])


def _progress(folder: Path) -> Progress | None:
    holder = holder_of(folder)
    return None if holder is None else holder.progress


def _facts(progress: Progress | None) -> tuple[str, str, str]:
    """Epoch, accuracy, time left."""
    if progress is None:
        return "starting", "", ""
    accuracy = "" if progress.accuracy is None else f"accuracy {progress.accuracy:.1%}"
    left = "" if progress.seconds_left is None else f"at most {_clock(progress.seconds_left)} left"
    return f"epoch {progress.epoch}/{progress.epochs}", accuracy, left


def _since(began: datetime) -> float:
    return (datetime.now(UTC) - began).total_seconds()


def _clock(seconds: float) -> str:
    """Such as 4:05, or 1:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
