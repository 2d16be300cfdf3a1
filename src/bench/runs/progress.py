"""Live progress of one run: a bar in a terminal, a line per epoch elsewhere, and what others see in its lease."""

from __future__ import annotations

from rich.console import Console

from bench.config import TrainingConfig
from bench.runs import lease
from bench.runs.bar import FactsBar
from bench.runs.callbacks import CurveRow
from bench.runs.clock import TrainingClock


class Pace:
    """How far a run has come, and how long it may still take."""

    def __init__(self, recipe: TrainingConfig, steps_per_epoch: int, clock: TrainingClock, unit: str = "epoch") -> None:
        """unit: what `recipe.epochs` counts."""
        self.unit = unit
        self.recipe = recipe
        self.clock = clock
        self.planned_steps = steps_per_epoch * recipe.epochs  # early stopping may end sooner

    def seconds_left(self, step: int) -> float:
        """Until the last planned step at the speed so far, or until the limit on time."""
        left = self.clock.seconds / max(step, 1) * (self.planned_steps - step)
        limit = self.recipe.max_seconds
        return left if limit is None else min(left, max(limit - self.clock.seconds, 0.0))


class LeaseProgress:
    """Keeps those informed who wait for the run, or ask for its status."""

    def __init__(self, held: lease.Lease, pace: Pace) -> None:
        self.held = held
        self.pace = pace
        self.accuracy: float | None = None

    def on_row(self, row: CurveRow) -> None:
        """Take in a row of the learning curve."""
        self.accuracy = row.accuracy if row.split == "validation" else self.accuracy
        self.held.report(
            lease.Progress(
                epoch=row.epoch,
                epochs=self.pace.recipe.epochs,
                step=row.step,
                steps=self.pace.planned_steps,
                seconds_left=round(self.pace.seconds_left(row.step), 1),
                accuracy=self.accuracy,
            )
        )


class RunProgress(FactsBar):
    """Shows epoch, loss, validation accuracy, tokens per second and the time left while it is open."""

    def __init__(self, console: Console, pace: Pace) -> None:
        self.pace = pace
        self.loss: float | None = None
        self.accuracy: float | None = None
        super().__init__(console, self._title(1), pace.planned_steps, facts="starting")

    def on_row(self, row: CurveRow) -> None:
        """Take in a row of the learning curve."""
        if row.split == "validation":
            self.accuracy = row.accuracy
            self.console.print(f"{self._title(row.epoch)}  {self._facts(row.step)}", highlight=False)
        else:
            self.loss = row.loss
        if self.is_shown:
            self.show(row.step, self._facts(row.step), self._title(row.epoch))

    def _title(self, epoch: int) -> str:
        return f"{self.pace.unit} {epoch}/{self.pace.recipe.epochs}"

    def _facts(self, step: int) -> str:
        facts = [] if self.loss is None else [f"loss {self.loss:.3f}"]
        if self.accuracy is not None:
            facts.append(f"validation accuracy {self.accuracy:.1%}")
        if rate := self.pace.clock.tokens_per_second():
            facts.append(f"{rate:,.0f} tokens/s")
        minutes, seconds = divmod(round(self.pace.seconds_left(step)), 60)
        left = f"{minutes}:{seconds:02} left"
        facts.append(f"at most {left}" if self.pace.recipe.patience else left)
        return "  ".join(facts)
