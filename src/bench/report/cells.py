"""What a scene's evidence says as words and as cells: verdicts with their tone, executions, intervals, means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from bench.analysis.decision import Interval
from bench.analysis.evidence import Evidence
from bench.analysis.executions import kernels_differ
from bench.report.document import Cell
from bench.report.numbers import UNKNOWN, bounds, interval_cell, number_cell, plural, raw

MATCHINGS = {"parameters": "equal parameters", "width": "equal width", "time": "equal wall-clock"}
METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def tone_of(verdict: str, baseline: str, alternative: str) -> str:
    """What a colour stresses beside the verdict's word."""
    return {baseline: "baseline", alternative: "alternative"}.get(verdict, verdict)


def verdict_words(entry: Evidence) -> str:
    """Such as `lstm`, `undecided`, `equivalent, gru is cheaper`."""
    cheaper = entry.held.cheaper
    if entry.verdict != "equivalent" or cheaper is None:
        return entry.verdict
    return "equivalent, either" if cheaper == "either" else f"equivalent, {cheaper} is cheaper"


def verdict_cell(entry: Evidence, note: str = "") -> Cell:
    """The verdict's words with their tone."""
    tone = tone_of(entry.verdict, entry.baseline, entry.alternative)
    return Cell(verdict_words(entry), (entry.verdict, entry.held.cheaper), tone, note)


def kernel_words(entry: Evidence) -> str:
    """By what the arms were executed: `torch`, or `gru step, lstm torch` where they differ."""
    first, second = entry.kernels
    if kernels_differ(entry.kernels):
        return f"{entry.baseline} {first}, {entry.alternative} {second}"
    return first or second or UNKNOWN


def estimate_cell(interval: Interval | None, digits: int = 2, sign: bool = True) -> Cell:
    """An estimate with its interval, as a difference with its sign; `n/a` where there is none."""
    if interval is None:
        return Cell(UNKNOWN, (None, None, None))
    return interval_cell(interval.estimate, interval.low, interval.high, digits, sign)


def time_cell(entry: Evidence) -> Cell:
    """The time ratio; a second line says how many of its pairs were disturbed."""
    cell = estimate_cell(entry.time_ratio, sign=False)
    if not entry.time_pairs_disturbed:
        return cell
    return replace(cell, note=f"{entry.time_pairs_disturbed} of {plural(entry.time_pairs, 'pair')} disturbed")


def bounds_cell(pair: tuple[float, float] | None) -> Cell:
    """Two bounds without an estimate."""
    low, high = pair or (None, None)
    return Cell(bounds(low, high), (raw(low), raw(high)))


def mean_cell(values: Sequence[float]) -> Cell:
    """The mean; `n/a` of nothing."""
    return number_cell(fmean(values) if values else None)
