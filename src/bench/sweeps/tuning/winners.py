"""How a trial ended, for Optuna, and which trial of an arm is its winner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.runs.record import RunRecord, Status
from bench.sweeps.tuning.space import Axis, described

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState

PRUNED = "pruned"  # the `stop_reason` of a trial that lagged behind
NO_WINNER = "no trial of its arm finished"
LOG_LOSS = "validation_log_loss"  # of a trial, beside its accuracy


@dataclass(frozen=True)
class Winner:
    """The best trial of an arm. values: as overrides, such as `training.learning_rate=0.0031`;  trial: its number."""

    values: tuple[str, ...]
    trial: int
    validation_accuracy: float


def outcome(record: RunRecord) -> tuple[TrialState, float | None]:
    """What Optuna is told of a trial that has ended."""
    from optuna.trial import TrialState

    if record.status is not Status.FINISHED or record.validation_accuracy is None:
        return TrialState.FAIL, None
    if record.stop_reason == PRUNED:
        return TrialState.PRUNED, None
    return TrialState.COMPLETE, record.validation_accuracy


def winner_of(trials: Sequence[FrozenTrial], budget: int, axes: Sequence[Axis]) -> Winner | None:
    """The best of an arm's trials; None while fewer than the budget have ended, or where none has finished.

    The best has the highest validation accuracy, then the lower log loss, then the lower number.
    """
    if len(trials) < budget or not all(trial.state.is_finished() for trial in trials):
        return None
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    best = min(complete, key=_rank, default=None)
    return None if best is None else Winner(described(best.params, axes), best.number, -_rank(best)[0])


def _rank(trial: FrozenTrial) -> tuple[float, float, int]:
    """What sorts the best trial first."""
    loss = trial.user_attrs.get(LOG_LOSS)
    assert trial.value is not None
    return -trial.value, float("inf") if loss is None else loss, trial.number
