"""Disturbed timings are counted and set beside the rest; they decide as much as they always did."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.disturbance import disturbed_timings
from bench.analysis.evidence import Evidence
from bench.analysis.verdict import Verdict, verdict
from bench.compose import compose
from bench.runs.index import frame_of
from bench.runs.record import RunRecord
from tests.test_report import a_run

SEEDS = range(5)
SLOWER = 3.0  # times as long as undisturbed


def runs(disturbed: set[int], flagged: bool = True) -> list[RunRecord]:
    """Five seeds of two cells on one task; some of the GRU's times were taken beside others. GRU over LSTM: 0.5."""
    quiet = {"cpu_other_fraction": 0.0, "timing_disturbed": False}
    busy = {"cpu_other_fraction": 0.6, "timing_disturbed": flagged or None}
    return [
        a_run(
            cell=cell, data="mr", seed=seed, quality=0.8, matching="width",
            seconds=(10.0 if cell == "gru" else 20.0) * (SLOWER if slow else 1) * (1 + 0.01 * (seed % 2)),
            **(busy if slow else quiet),
        )
        for cell in ("gru", "lstm")
        for seed in SEEDS
        for slow in [cell == "gru" and seed in disturbed]
    ]  # fmt: skip


def judged(records: list[RunRecord]) -> tuple[Verdict, Evidence]:
    found = verdict(frame_of(records), compose(["protocol.looks=[5]"]).protocol)
    (entry,) = found.headline
    return found, entry


def test_disturbed_pairs_are_counted_and_the_ratio_without_them_stands_beside() -> None:
    _, entry = judged(runs({1, 3}))
    assert (entry.time_pairs, entry.time_pairs_disturbed) == (5, 2)
    assert entry.time_ratio is not None
    assert entry.time_ratio_undisturbed is not None
    assert entry.time_ratio.estimate == pytest.approx(0.5 * SLOWER ** (2 / 5), rel=0.02)
    assert entry.time_ratio_undisturbed.estimate == pytest.approx(0.5, rel=0.02)
    assert entry.time_ratio_undisturbed.low <= 0.5 <= entry.time_ratio_undisturbed.high * 1.02


def test_being_marked_changes_no_verdict() -> None:
    marked = runs({0, 2})
    silent = [replace(run, timing_disturbed=False, cpu_other_fraction=None) for run in marked]
    (one, first), (other, second) = judged(marked), judged(silent)
    assert (first.time_pairs_disturbed, second.time_pairs_disturbed) == (2, 0)
    assert (one.sentence, first.decision, first.time_ratio) == (other.sentence, second.decision, second.time_ratio)


def test_without_disturbed_pairs_both_ratios_are_one() -> None:
    _, entry = judged(runs(set()))
    assert entry.time_pairs_disturbed == 0
    assert entry.time_ratio_undisturbed == entry.time_ratio


@pytest.mark.parametrize("left", [0, 1])
def test_fewer_than_two_undisturbed_pairs_have_no_ratio(left: int) -> None:
    _, entry = judged(runs(set(SEEDS[left:])))
    assert entry.time_pairs_disturbed == 5 - left
    assert entry.time_ratio is not None
    assert entry.time_ratio_undisturbed is None


def test_records_of_earlier_versions_are_read_by_the_same_rule() -> None:
    records = frame_of(runs({1, 3}, flagged=False))
    assert disturbed_timings(records).sum() == 2
    silent = records.assign(cpu_other_fraction=pd.NA, cpu_steal_fraction=pd.NA)
    assert disturbed_timings(silent).sum() == 0, "what is not known is not held against a run"
    assert disturbed_timings(records.drop(columns=["timing_disturbed", "cpu_other_fraction"])).sum() == 0


def test_the_median_of_several_executions_is_disturbed_where_half_of_them_were() -> None:
    once = runs({1})
    gru = next(run for run in once if run.timing_disturbed)
    again = [
        replace(gru, execution_id=f"{gru.execution_id}-{number}", timing_disturbed=False, train_seconds=10.0,
                started_at=f"2026-11-22T22:0{number}:00+00:00")
        for number in (1, 2)
    ]  # fmt: skip
    assert judged([*once, again[0]])[1].time_pairs_disturbed == 1
    assert judged([*once, *again])[1].time_pairs_disturbed == 0
