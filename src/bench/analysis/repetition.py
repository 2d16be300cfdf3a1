"""A run made twice: bit-equal, within what seeds change anyway, or not reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import pandas as pd

from bench.analysis.matching import first_by_seed
from bench.analysis.noise import seed_noise
from bench.runs.record import RunRecord, Status

QUALITY = (
    "test_accuracy", "test_macro_f1", "test_log_loss", "test_calibration_error", "test_confusion", "test_correct",
    "test_mean_squared_error", "validation_mean_squared_error",
    "test_by_length", "validation_accuracy", "validation_macro_f1", "validation_log_loss", "train_accuracy",
    "generalisation_gap", "best_epoch", "epochs_run",
)  # fmt: skip
_NORMAL_95 = 1.959964  # standard errors to each side that hold 95% of a normal distribution


class Answer(StrEnum):
    """What a repetition shows."""

    BIT_EQUAL = "bit-equal"
    WITHIN_NOISE = "within seed noise"
    SAME_END = "ended the same way"  # of a run that did not finish
    NOT_REPRODUCED = "not reproduced"


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """A recorded execution and its repetition. unequal: quality fields of both records that differ."""

    answer: Answer
    reason: str
    unequal: tuple[str, ...] = ()
    time_ratio: float | None = None  # repeated over recorded train_seconds; None on other hardware
    time_reason: str = ""


def compare(
    recorded: RunRecord, repeated: RunRecord, others: Sequence[float], same_predictions: bool | None
) -> Repetition:
    """Compare two executions of one configuration.

    others: accuracies (fractions) of the arm's other seeds, see `other_seeds`;  same_predictions: whether every
    predicted probability is the same, None where the recorded ones were not kept.
    """
    if not recorded.status == repeated.status == Status.FINISHED:
        return _compare_ends(recorded, repeated)
    held = [name for name in QUALITY if getattr(recorded, name) is not None]
    unequal = tuple(name for name in held if getattr(recorded, name) != getattr(repeated, name))
    if not held:
        answer, reason = Answer.NOT_REPRODUCED, "the record holds no quality to compare with"
    elif unequal or same_predictions is False:
        answer, reason = _within_noise(recorded, repeated, others)
    else:
        kept = " (no predictions were kept)" if same_predictions is None else " and every predicted probability"
        answer, reason = Answer.BIT_EQUAL, f"all {len(held)} quality fields{kept} are the same"
    ratio, time_reason = _time_ratio(recorded, repeated)
    return Repetition(answer=answer, reason=reason, unequal=unequal, time_ratio=ratio, time_reason=time_reason)


def other_seeds(table: pd.DataFrame, recorded: RunRecord) -> list[float]:
    """Accuracies of the finished runs that differ from a recorded one in their seed alone: same code, same data."""
    column = accuracy_field(recorded)
    alike = (
        (table.status == Status.FINISHED)
        & (table.arm == recorded.arm)
        & (table.seed != recorded.seed)
        & (table.code_version == recorded.code_version)
        & (table.data_fingerprint == recorded.data_fingerprint)
    )
    return [float(value) for value in first_by_seed(table[alike.fillna(False)])[column].dropna()]


def accuracy_field(record: RunRecord) -> str:
    """The accuracy that a run is judged by: on the test split, on validation where there is none."""
    return "validation_accuracy" if record.test_accuracy is None else "test_accuracy"


def _compare_ends(recorded: RunRecord, repeated: RunRecord) -> Repetition:
    before, after = (_end(record) for record in (recorded, repeated))
    if before == after:
        return Repetition(answer=Answer.SAME_END, reason=f"both {after}")
    return Repetition(answer=Answer.NOT_REPRODUCED, reason=f"recorded: {before}, repeated: {after}")


def _end(record: RunRecord) -> str:
    return str(record.status) + (f" ({record.error_type})" if record.error_type else "")


def _within_noise(recorded: RunRecord, repeated: RunRecord, others: Sequence[float]) -> tuple[Answer, str]:
    name = accuracy_field(recorded)
    before, after = getattr(recorded, name), getattr(repeated, name)
    if before is None or after is None:
        return Answer.NOT_REPRODUCED, f"{name} is absent from one of the two records"
    noise, source = _noise(recorded, (before + after) / 2, others)
    answer = Answer.WITHIN_NOISE if abs(after - before) <= noise else Answer.NOT_REPRODUCED
    return (
        answer,
        f"accuracy differs by {100 * (after - before):+.2f} points, seeds by up to {100 * noise:.2f} ({source})",
    )


def _noise(recorded: RunRecord, accuracy: float, others: Sequence[float]) -> tuple[float, str]:
    """What may be put down to the seed, as a fraction of 1, and where that comes from."""
    noise = seed_noise(others)
    if noise is not None:
        return noise, f"95% prediction interval from {len(others)} other seeds"
    texts = recorded.validation_texts if recorded.test_accuracy is None else recorded.test_texts
    error = sqrt(accuracy * (1 - accuracy) / texts) if texts else 0.0
    few = f"only {len(others)} other seed{'s'[: len(others) != 1]} in the results folder"
    return _NORMAL_95 * error, f"95% binomial interval of {texts or 0:,} texts, as there are {few}"


def _time_ratio(recorded: RunRecord, repeated: RunRecord) -> tuple[float | None, str]:
    if recorded.hardware_key != repeated.hardware_key:
        return None, "speeds are not compared: other hardware"
    if not recorded.train_seconds or not repeated.train_seconds:
        return None, "speeds are not compared: one of them was not measured"
    return repeated.train_seconds / recorded.train_seconds, f"on {repeated.hardware_key}"
