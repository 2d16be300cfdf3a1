"""The decision table is the only judge, and it reads what the protocol says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import bench
from bench.analysis.decision import Case, Ladder, Sample, judge_together
from bench.analysis.sequential import nominal_levels
from bench.analysis.simulation import Truth, simulate, template
from bench.analysis.verdict import Verdict, verdict
from bench.compose import compose

CONFIG = compose([])
PROTOCOL = replace(CONFIG.protocol, matching="width")
LIKE = template(CONFIG)
ONE_LOOK = Ladder((10,), 0.05, "power3")


def case(mean: float, half: float, time: tuple[float, float] | None = None, margin: float = 1.0) -> Case:
    """Ten seeds with a 95% interval of mean ± half; time: log ratio with its half width."""
    scale = math.sqrt(10) / float(stats.t.ppf(0.975, 9))
    times = None if time is None else Sample(time[0], time[1] * scale, 10)
    return Case("gru", "lstm", Sample(mean, half * scale, 10), times, margin, ONE_LOOK, 1)


FASTER, SLOWER, EVEN = (-0.2, 0.1), (0.2, 0.1), (0.0, 0.1)


@pytest.mark.parametrize(
    ("mean", "half", "time", "expected"),
    [
        (2.0, 0.9, EVEN, "lstm"),  # L > margin
        (2.0, 0.9, FASTER, "lstm"),  # quality comes before time
        (-2.0, 0.9, EVEN, "gru"),  # U < -margin
        (0.0, 0.9, FASTER, "equivalent"),
        (0.5, 0.4, EVEN, "equivalent"),
        (-0.5, 1.4, FASTER, "gru"),  # U < margin, R < 1
        (-0.5, 1.4, EVEN, "undecided"),
        (-0.5, 1.4, None, "undecided"),  # at equal wall-clock no time counts
        (0.5, 1.4, SLOWER, "lstm"),  # L > -margin, r > 1
        (0.5, 1.4, FASTER, "undecided"),
        (0.0, 3.0, FASTER, "undecided"),
        (1.0, 0.5, EVEN, "undecided"),
    ],
)
def test_the_first_row_that_matches_decides(
    mean: float, half: float, time: tuple[float, float] | None, expected: str
) -> None:
    assert case(mean, half, time).decide().verdict == expected


@pytest.mark.parametrize(("time", "cheaper"), [(FASTER, "gru"), (SLOWER, "lstm"), (EVEN, "either"), (None, None)])
def test_equivalence_names_the_cheaper_one_by_measured_time(
    time: tuple[float, float] | None, cheaper: str | None
) -> None:
    decision = case(0.0, 0.5, time).decide()
    assert (decision.verdict, decision.cheaper) == ("equivalent", cheaper)


@settings(max_examples=300, deadline=None)
@given(
    mean=st.floats(-4, 4), sd=st.floats(0.05, 4), look=st.integers(1, 4),
    time=st.floats(-0.5, 0.5), time_sd=st.floats(0.01, 1), margin=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
)  # fmt: skip
def test_the_judge_reads_the_repeated_intervals(
    *, mean: float, sd: float, look: int, time: float, time_sd: float, margin: float
) -> None:
    """The table of the design, written down once more over [L, U] and [r, R]."""
    ladder = Ladder((5, 10, 15, 20), 0.05, "power2")
    n = ladder.looks[look - 1]
    judged = Case("gru", "lstm", Sample(mean, sd, n), Sample(time, time_sd, n), margin, ladder, look)
    quality, ratio = ladder.interval(judged.difference, look), ladder.interval(Sample(time, time_sd, n), look)
    low, high, fast, slow = quality.low, quality.high, math.exp(ratio.low), math.exp(ratio.high)
    edges = [abs(low - margin), abs(high + margin), abs(low + margin), abs(high - margin), abs(fast - 1), abs(slow - 1)]
    if min(edges) < 1e-9:
        return
    if low > margin:
        expected = "lstm"
    elif high < -margin:
        expected = "gru"
    elif -margin < low and high < margin:
        expected = "equivalent"
    elif high < margin and slow < 1:
        expected = "gru"
    elif low > -margin and fast > 1:
        expected = "lstm"
    else:
        expected = "undecided"
    assert judged.decide().verdict == expected


def test_a_single_look_is_the_ordinary_t_interval() -> None:
    values = np.array([0.3, 1.2, -0.4, 0.9, 0.1, 0.5, 0.7, -0.2, 0.6, 1.0])
    sample = Sample.of(values)
    assert sample is not None
    interval = ONE_LOOK.interval(sample, 1)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_p_is_the_alpha_at_which_the_verdict_turns() -> None:
    judged = case(0.4, 0.5)
    p = judged.decide().p
    assert judged.decide(p * 1.02).verdict == "equivalent"
    assert judged.decide(p * 0.98).verdict == "undecided"


def test_seeds_without_any_spread_are_not_taken_for_certainty() -> None:
    sample = Sample.of([0.0] * 5, resolution=100 / 30)
    assert sample is not None
    assert sample.sd == pytest.approx(100 / 30 / math.sqrt(12))
    assert Sample.of([1.0]) is None


def test_holm_judges_each_scene_at_its_share_of_alpha() -> None:
    clear, near = case(0.0, 0.3), case(0.0, 0.98)  # both equivalent at 95% alone
    assert near.decide().verdict == "equivalent"
    (first, p_first), (second, p_second) = judge_together([clear, near], 0.05)
    assert (first.verdict, second.verdict) == ("equivalent", "equivalent")  # the last one is judged at alpha itself
    (_, p_one), (other, p_other) = judge_together([near, near], 0.05)
    assert other.verdict == "undecided"
    assert p_one == p_other == pytest.approx(2 * near.decide().p)
    assert (p_first, p_second) == pytest.approx((2 * clear.decide().p, near.decide().p))


def judged(truth: Truth, seeds: int = 20, tasks: int = 1, seed: int = 3) -> Verdict:
    return verdict(simulate([truth] * tasks, seeds, LIKE, seed), PROTOCOL)


def test_a_clear_case_is_decided_and_says_so() -> None:
    answer = judged(Truth(effect=3.0, sd=0.8))
    (entry,) = answer.headline
    assert answer.verdict == entry.verdict == "lstm"
    assert entry.difference is not None
    assert entry.difference.low > 1
    assert "LSTM" in answer.sentence
    assert entry.sensitivity == {0.25: "lstm", 0.5: "lstm", 1.0: "lstm", 2.0: "lstm"}


def test_an_undecided_case_says_how_many_seeds_would_decide() -> None:
    (entry,) = judged(Truth(effect=0.5, sd=1.5), seeds=8).headline
    assert entry.verdict == "undecided"
    assert entry.seeds_needed is not None
    assert entry.seeds_needed > 8
    assert entry.next_look == 12
    assert entry.minimum_detectable is not None


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_before_the_first_look_nothing_is_judged(seeds: int) -> None:
    (entry,) = judged(Truth(effect=9.0, sd=0.1), seeds).headline
    assert (entry.verdict, entry.look, entry.next_look) == ("undecided", 0, 5)
    assert entry.decision.reason == f"{seeds} seed{'s'[: seeds > 1]} of the 5 that the first look needs"
    assert entry.difference is None


def test_seeds_between_two_looks_are_described_and_not_judged() -> None:
    records = simulate([Truth(effect=0.0, sd=1.0)], 15, LIKE)
    answer = verdict(records, PROTOCOL)
    (entry,) = answer.headline
    assert (len(entry.seeds), entry.extra_seeds, entry.next_look) == (12, 3, 16)
    assert any("3 pairs of runs lie beyond the look that was judged" in line for line in answer.warnings)
    assert replace(entry, extra_seeds=0) == verdict(records[records.seed < 12], PROTOCOL).headline[0]


def test_half_a_point_matters_on_a_large_test_set() -> None:
    large = simulate([Truth(effect=0.0, sd=0.5)], 5, replace(LIKE, test_texts=25_000))
    assert verdict(large, PROTOCOL).headline[0].margin == 0.5
    assert judged(Truth(effect=0.0, sd=0.5), 5).headline[0].margin == 1.0


def test_all_tasks_together_are_judged_as_one_set() -> None:
    answer = judged(Truth(effect=0.0, sd=1.2), seeds=10, tasks=6)
    (together,) = answer.overall
    means = np.mean([entry.deltas for entry in answer.headline], axis=0)
    assert together.deltas == pytest.approx(means)
    assert together.verdict == answer.verdict == "equivalent"
    assert all(entry.p_holm is not None for entry in answer.headline)


def test_the_same_records_give_the_same_verdict_in_any_order() -> None:
    records = simulate([Truth(effect=0.4, sd=1.0, time_ratio=0.9)] * 3, 10, LIKE)
    shuffled = records.sample(frac=1, random_state=1)
    assert verdict(records, PROTOCOL).evidence == verdict(shuffled, PROTOCOL).evidence


def test_a_protocol_changed_after_the_runs_is_shown_as_such() -> None:
    records = simulate([Truth(effect=0.0, sd=1.0)], 10, LIKE)
    wider = replace(PROTOCOL, margin=3.0)
    answer = verdict(records, wider, stored=PROTOCOL)
    assert answer.changed == ("margin: None before the runs, 3.0 now",)
    assert answer.protocol_hash != verdict(records, PROTOCOL, stored=PROTOCOL).protocol_hash
    assert verdict(records, PROTOCOL, stored=PROTOCOL).changed == ()


def test_the_headline_falls_back_on_what_was_run_and_says_so() -> None:
    answer = verdict(simulate([Truth(effect=0.0, sd=1.0)], 5, LIKE), CONFIG.protocol)
    assert answer.headline[0].scene.matching == "width"
    assert answer.warnings[0] == "no pairs at equal parameters: the headline is at equal width"


def test_from_python_without_a_protocol() -> None:
    records = simulate([Truth(effect=0.0, sd=0.4)], 20, LIKE)
    assert bench.verdict(records).verdict == "equivalent"


def test_no_records_are_no_verdict() -> None:
    empty = simulate([Truth(effect=0.0, sd=1.0)], 5, LIKE).iloc[:0]
    answer = verdict(empty, PROTOCOL)
    assert answer.evidence == ()
    assert answer.sentence.startswith("No verdict")


def test_more_than_two_arms_are_compared_two_by_two() -> None:
    records = simulate([Truth(effect=0.0, sd=1.0)], 5, LIKE)
    plain = records[records["model.cell"] == "gru"].assign(**{"model.cell": "rnn"})
    plain = plain.assign(run_id="rnn-" + plain.run_id.astype(str), test_accuracy=plain.test_accuracy - 0.1)
    answer = verdict(pd.concat([records, plain]), PROTOCOL)
    assert [(entry.baseline, entry.alternative, entry.headline) for entry in answer.evidence] == [
        ("rnn", "gru", False), ("rnn", "lstm", False), ("gru", "lstm", True),
    ]  # fmt: skip


def test_later_looks_spend_what_earlier_ones_left() -> None:
    levels = nominal_levels((5, 10, 15, 20), 0.05, PROTOCOL.spending)
    assert list(levels) == sorted(levels)
    assert levels[-1] < 0.05
