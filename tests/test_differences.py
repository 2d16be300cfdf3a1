"""Two folders or code versions side by side: what changed beyond what seeds change, and what cannot be said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

import bench
from bench.analysis.arm_differences import ArmDifference
from bench.analysis.differences import Differences, difference
from bench.analysis.noise import mean_interval, paired_p, seed_noise
from bench.analysis.sides import both_sides, split
from bench.errors import UserError
from bench.runs.record import RunRecord
from bench.runs.store import Store
from tests.conftest import Study
from tests.test_record import a_record

SPREAD = [0.012, -0.008, 0.003, -0.011, 0.006, -0.002]


def a_run(seed: int, code: str, cell: str = "gru", **fields: object) -> RunRecord:
    config = {"model.cell": cell, "model.match": "width", "data.name": "imdb", "training.epochs": 3, "results": "there"}
    config |= {key: fields.pop(key) for key in list(fields) if "." in key}
    known = {
        "run_id": "-".join(map(str, (cell, seed, code, config["training.epochs"], fields.get("data_fingerprint")))),
        "execution_id": f"e{seed}",
        "arm": f"imdb/{cell}",
        "code_version": code,
        "commit": code * 4,
        "data_fingerprint": "texts",
        "hardware_key": "cpu-a",
        "train_seconds": 10.0 + seed,
        "torch_version": "2.13",
        "test_accuracy": 0.8 + SPREAD[seed],
    }
    return a_record(seed=seed, config=config, **{**known, **fields})


def written(folder: Path, records: Sequence[RunRecord]) -> pd.DataFrame:
    for record in records:
        Store(folder).write(record)
    return bench.records(folder)


def compared(tmp_path: Path, before: Sequence[RunRecord], after: Sequence[RunRecord]) -> Differences:
    return difference(written(tmp_path / "before", before), written(tmp_path / "after", after))


def only_arm(found: Differences) -> ArmDifference:
    (arm,) = found.arms
    return arm


def shifted(points: Sequence[float], code: str = "bbbb", **fields: object) -> list[RunRecord]:
    """A run a seed, its accuracy so many points above that of `a_run`."""
    return [
        a_run(seed, code, test_accuracy=0.8 + SPREAD[seed] + point / 100, **fields) for seed, point in enumerate(points)
    ]


def test_real_runs_of_two_folders_are_bit_equal_and_an_other_recipe_is_another_arm(study: Study) -> None:
    other = study.folder / "other"
    for seed in (0, 1):
        bench.run(study.overrides(f"seed={seed}", "training.epochs=1"))
        bench.run(study.overrides(f"seed={seed}", "training.epochs=1", f"results={other}", "logger=csv"))
    bench.run(study.overrides("training.epochs=2", f"results={other}"))
    found = difference(*both_sides(f"{study.results}..{other}", Store("nowhere")))
    arm = only_arm(found)
    assert (arm.paired, arm.identical, arm.changed, arm.reason) == (2, 2, "no", "bit-equal for 2 of 2 seeds")
    assert arm.time_ratio is not None
    assert (found.only_before, len(found.only_after), found.set_apart) == ((), 1, ())
    assert [(value.name, value.before, value.after) for value in found.values] == [
        ("training.epochs", ("1",), ("1", "2"))
    ]


def test_a_change_beyond_seed_noise_is_told_with_its_interval(tmp_path: Path) -> None:
    deltas = [-3.1, -2.6, -3.3, -2.9, -3.0]
    found = compared(tmp_path, shifted([0] * 6, "aaaa"), shifted(deltas))
    arm = only_arm(found)
    assert (arm.seeds_before, arm.seeds_after, arm.paired, arm.identical) == (6, 5, 5, 0)
    assert arm.accuracy_before == pytest.approx(0.8 + np.mean(SPREAD[:5]))
    assert arm.difference is not None
    low, high = stats.t.interval(0.95, 4, np.mean(deltas), stats.sem(deltas))
    assert (arm.difference.low, arm.difference.estimate, arm.difference.high) == pytest.approx(
        (low, np.mean(deltas), high)
    )
    assert arm.p == pytest.approx(stats.ttest_1samp(deltas, 0).pvalue)
    assert (arm.changed, arm.metric) == ("yes", "test accuracy")
    assert {value.name: value.after for value in found.values} == {"code_version": ("bbbb",), "commit": ("bbbb" * 4,)}


def test_what_lies_within_one_seeds_noise_has_not_changed(tmp_path: Path) -> None:
    arm = only_arm(compared(tmp_path, shifted([0] * 6, "aaaa"), shifted([0.2, -0.3, 0.1, -0.1, 0.2, 0.0])))
    assert arm.changed == "no"
    assert arm.seed_noise == pytest.approx(stats.t.ppf(0.975, 5) * stats.tstd(SPREAD) * 100 * (7 / 6) ** 0.5)
    assert arm.reason == f"within what one seed changes, {arm.seed_noise:.2g} points"


def test_too_wide_an_interval_or_too_few_pairs_decide_nothing(tmp_path: Path) -> None:
    wide = only_arm(compared(tmp_path / "wide", shifted([0] * 6, "aaaa"), shifted([9.0, -5.0, 4.0, 8.0, -6.0])))
    assert wide.changed == "undecided"
    assert "more seeds would tell" in wide.reason
    two = only_arm(compared(tmp_path / "two", shifted([0] * 6, "aaaa"), shifted([-9.0, -9.1])))
    assert (two.changed, two.paired) == ("undecided", 2)
    assert "three or more are needed" in two.reason
    one = only_arm(compared(tmp_path / "one", shifted([0] * 6, "aaaa"), shifted([-9.0])))
    assert (one.changed, one.difference, one.p) == ("undecided", None, None)
    none = only_arm(compared(tmp_path / "none", shifted([0] * 3, "aaaa"), [a_run(4, "bbbb"), a_run(5, "bbbb")]))
    assert (none.changed, none.paired, none.reason) == (
        "undecided", 0, "no seed has a finished run on both sides",
    )  # fmt: skip
    assert none.accuracy_after == pytest.approx(0.8 + np.mean(SPREAD[4:]))


def test_several_arms_are_adjusted_together(tmp_path: Path) -> None:
    deltas = {
        "gru": [0.4, 0.1, 0.5, 0.2, 0.1],
        "lstm": [0.6, -0.2, 0.3, 0.1, 0.2],
        "rnn": [-2.0, -2.2, -1.9, -2.1, -2.0],
    }
    before = [run for cell in deltas for run in shifted([0] * 5, "aaaa", cell=cell)]
    after = [run for cell, points in deltas.items() for run in shifted(points, cell=cell)]
    found = compared(tmp_path, before, after)
    raw = [stats.ttest_1samp(deltas[arm.arm.rpartition("/")[2]], 0).pvalue for arm in found.arms]
    assert [arm.p_holm for arm in found.arms] == pytest.approx(list(multipletests(raw, method="holm")[1]))
    by_cell = {arm.arm: arm.changed for arm in found.arms}
    assert by_cell["imdb/rnn"] == "yes"
    assert by_cell["imdb/gru"] == "no", "0.03 alone, 0.07 beside two others"
    table = found.table()
    assert len(table) == 3
    assert {"difference_low", "difference_estimate", "time_ratio_high", "p_holm", "changed"} <= set(table.columns)


def test_quality_on_other_data_is_refused_with_the_reason(tmp_path: Path) -> None:
    after = [a_run(seed, "aaaa", data_fingerprint="other", test_accuracy=0.1) for seed in range(5)]
    found = compared(tmp_path, shifted([0] * 5, "aaaa"), after)
    arm = only_arm(found)
    assert (arm.changed, arm.difference, arm.p, arm.p_holm, arm.identical) == ("refused", None, None, None, 0)
    assert arm.reason == "the data differ (texts before, other after): qualities do not compare"
    assert "data_fingerprint" in {value.name for value in found.values}


def test_times_compare_on_one_kind_of_hardware_only(tmp_path: Path) -> None:
    before = shifted([0] * 4, "aaaa")
    slower = [a_run(seed, "bbbb", train_seconds=(10.0 + seed) * factor) for seed, factor in enumerate([2, 2.2, 1.9, 2])]
    arm = only_arm(compared(tmp_path / "same", before, slower))
    low, high = np.exp(
        stats.t.interval(0.95, 3, np.mean(np.log([2, 2.2, 1.9, 2])), stats.sem(np.log([2, 2.2, 1.9, 2])))
    )
    assert arm.time_ratio is not None
    assert (arm.time_ratio.low, arm.time_ratio.high, arm.time_pairs) == pytest.approx((low, high, 4))
    assert arm.time_reason == "on cpu-a"
    elsewhere = only_arm(compared(tmp_path / "other", before, shifted([0] * 4, hardware_key="gpu-b")))
    assert elsewhere.time_ratio is None
    assert elsewhere.time_reason == "other hardware: cpu-a before, gpu-b after"
    assert elsewhere.identical == 4, "quality compares all the same"
    timed = {"model.match": "time"}
    budget = only_arm(compared(tmp_path / "time", shifted([0] * 4, "aaaa", **timed), shifted([0] * 4, **timed)))
    assert (budget.time_ratio, budget.time_reason) == (None, "equal wall-clock by design")


def test_failures_and_arms_of_one_side_only_are_counted(tmp_path: Path) -> None:
    failed = [a_run(seed, "bbbb", status="failed", test_accuracy=None, train_seconds=None) for seed in (1, 2)]
    found = compared(
        tmp_path,
        [*shifted([0] * 3, "aaaa"), a_run(0, "aaaa", "rnn")],
        [a_run(0, "bbbb"), *failed, a_run(0, "bbbb", "lstm"), a_run(0, "bbbb", "gru", **{"training.epochs": 4})],
    )
    arm = only_arm(found)
    assert (arm.seeds_after, arm.failed_before, arm.failed_after, arm.paired) == (1, 0, 2, 1)
    assert (found.only_before, found.only_after) == (("imdb/rnn",), ("imdb/gru", "imdb/lstm"))
    assert ("training.epochs", ("3",), ("3", "4")) in [(v.name, v.before, v.after) for v in found.values]


def test_several_versions_on_one_side_are_set_apart_not_averaged(tmp_path: Path) -> None:
    found = compared(tmp_path, shifted([0] * 4, "aaaa"), [*shifted([0] * 4), *shifted([1] * 2, "cccc")])
    assert found.set_apart == (
        "after: imdb/gru has several runs of one seed (code bbbb, cccc: name one, as in diff=CODE..CODE)",
    )
    assert only_arm(found).paired == 2, "the seeds that stand for one run each"
    everything = compared(tmp_path / "all", shifted([0] * 2, "aaaa"), [*shifted([0] * 2), *shifted([1] * 2, "cccc")])
    assert (everything.arms, everything.only_before, len(everything.set_apart)) == ((), (), 1)


def test_contradicting_records_are_set_apart_with_the_side(tmp_path: Path) -> None:
    before = written(tmp_path / "one", shifted([0] * 3, "aaaa"))
    twice = pd.concat([before, before.assign(test_accuracy=0.5)], ignore_index=True)
    found = difference(twice, before)
    assert len(found.set_apart) == 3
    assert all(line.startswith("before: run gru") for line in found.set_apart)


def test_a_split_is_a_folder_a_code_version_or_a_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "before")
    written(store.results, [*shifted([0] * 3, "aaab"), *shifted([0] * 2, "aacd")])
    written(tmp_path / "a..b", shifted([0] * 4, "eeee"))
    assert len(split("aaa", store)) == 3
    assert set(split("aacdaacd", store).code_version) == {"aacd"}
    assert len(split(str(tmp_path / "a..b"), store)) == 4
    before, after = both_sides(f"aacd..{tmp_path}/a..b", store)
    assert (len(before), len(after)) == (2, 4)


MISTAKES = {
    "aaab": "diff=aaab: write diff=A..B",
    "..aaab": "write diff=A..B",
    "aaab..aadc": "diff: 'aadc' is no folder, and no code version or commit of the records in {results}: "
    "did you mean 'aacd'?",
    "aa..aaab": "diff: 'aa' begins 2 versions, add letters: aaab, aacd",
    "{folder}..aaab": "holds no records: name a results folder",
}


@pytest.mark.parametrize("request_", MISTAKES)
def test_a_side_that_is_not_there_is_one_line(tmp_path: Path, request_: str) -> None:
    store = Store(tmp_path / "results")
    written(store.results, [*shifted([0] * 3, "aaab"), *shifted([0] * 2, "aacd")])
    (tmp_path / "empty").mkdir()
    names = {"results": store.results, "folder": tmp_path / "empty"}
    with pytest.raises(UserError) as caught:
        both_sides(request_.format(**names), store)
    assert MISTAKES[request_].format(**names) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_tables_differ_in_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = bench.records(tmp_path / "empty")
    assert difference(empty, empty) == Differences(arms=(), only_before=(), only_after=(), values=(), set_apart=())
    assert difference(written(tmp_path / "one", [a_run(0, "aaaa")]), empty).only_before == ("imdb/gru",)


def test_intervals_and_tests_agree_with_scipy() -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(0.3, 1, 7)
    found = mean_interval(values, 0.05)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 6, values.mean(), stats.sem(values)))
    assert paired_p(np.full(6, 2.0)) == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert paired_p(np.zeros(6)) == 1
    assert seed_noise([0.5, 0.6]) is None


def test_a_new_seed_lies_within_the_seed_noise_of_the_others_nineteen_times_in_twenty() -> None:
    draw = np.random.default_rng(5).normal(0.8, 0.01, (4000, 6))
    within = [abs(new - np.mean(rest)) <= (seed_noise(rest) or 0) for *rest, new in draw.tolist()]
    assert np.mean(within) == pytest.approx(0.95, abs=0.007)  # two standard errors


def test_ten_thousand_records_are_compared_in_seconds(tmp_path: Path) -> None:
    one = written(tmp_path / "one", [a_run(0, "aaaa")])
    half = one.loc[one.index.repeat(5000)].reset_index(drop=True)
    numbers = np.arange(5000)
    half["seed"] = pd.array(numbers % 20, dtype=half.seed.dtype)
    half["training.epochs"] = pd.array(numbers // 20, dtype=half["training.epochs"].dtype)
    half["run_id"] = pd.array([f"r{number}" for number in numbers], dtype=half.run_id.dtype)
    half["test_accuracy"] = np.random.default_rng(1).normal(0.8, 0.01, 5000)
    began = time.process_time()
    found = difference(half, half.assign(test_accuracy=half.test_accuracy + 0.001))
    assert time.process_time() - began < 10
    assert [arm.paired for arm in found.arms] == [20] * 250
