"""Quality against its costs: hand-made tables with known answers, closed forms against brute force."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.analysis.best_of import best_quantile, expected_best
from bench.analysis.frontier import (
    by_budget,
    by_length,
    by_training_size,
    frontier,
    learning_curves,
    length_differences,
    time_to_target,
)
from tests.test_across import run, table

VIEWS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "frontier over seconds": lambda runs: frontier(runs, "train_seconds"),
    "frontier over weights": lambda runs: frontier(runs, "parameters_total"),
    "learning curves": learning_curves,
    "time to target": time_to_target,
    "by length": by_length,
    "length differences": lambda runs: length_differences(runs, "gru", "lstm"),
    "by training size": by_training_size,
}


@pytest.mark.parametrize("view", VIEWS)
def test_no_runs_give_an_empty_table_with_the_columns_of_a_full_one(view: str) -> None:
    runs = table([run(arm=arm, seed=seed, scene=scene, dataset="mr", train_texts=100 + scene)
                  for arm in ("gru", "lstm") for seed in (1, 2) for scene in (0, 1)])  # fmt: skip
    full, empty = VIEWS[view](runs), VIEWS[view](runs.iloc[:0])
    assert len(full) > 0
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)


@pytest.mark.parametrize("view", VIEWS)
def test_one_run_gives_no_nan(view: str) -> None:
    answer = VIEWS[view](table([run()]))
    values = [value for value in answer.to_numpy(object).ravel() if value is not pd.NA]
    assert not pd.isna(np.array(values, object)).any()
    if view not in ("length differences", "by training size"):
        assert len(answer) > 0


def test_an_arm_that_costs_more_for_no_more_quality_is_dominated() -> None:
    runs = table([
        run(arm="rnn", quality=0.70, train_seconds=1.0), run(arm="gru", quality=0.80, train_seconds=2.0),
        run(arm="lstm", quality=0.80, train_seconds=3.0), run(arm="mgu", quality=0.75, train_seconds=2.5),
    ])  # fmt: skip
    answer = frontier(runs, "train_seconds").set_index("arm")
    assert answer["dominated"].to_dict() == {"rnn": False, "gru": False, "lstm": True, "mgu": True}


def test_equal_arms_do_not_dominate_each_other() -> None:
    assert not frontier(table([run(arm="gru"), run(arm="lstm")]), "parameters_total")["dominated"].any()


def test_seconds_of_other_hardware_dominate_nothing_but_weights_do() -> None:
    runs = table([
        run(arm="gru", quality=0.8, train_seconds=1.0, hardware_key="laptop", parameters_total=10),
        run(arm="lstm", quality=0.7, train_seconds=2.0, hardware_key="server", parameters_total=20),
    ])  # fmt: skip
    assert not frontier(runs, "train_seconds")["dominated"].any()
    weights = frontier(runs, "parameters_total").set_index("arm")
    assert weights["dominated"].to_dict() == {"gru": False, "lstm": True}


def test_a_scene_is_compared_with_itself_only() -> None:
    runs = table([run(arm="gru", quality=0.9, train_seconds=1.0),
                  run(arm="lstm", quality=0.5, train_seconds=2.0, scene=1)])  # fmt: skip
    assert not frontier(runs, "train_seconds")["dominated"].any()


def test_the_interval_of_the_mean_is_students() -> None:
    qualities = [0.81, 0.84, 0.79, 0.83]
    runs = table([run(seed=seed, quality=quality) for seed, quality in enumerate(qualities)])
    row = frontier(runs, "train_seconds").iloc[0]
    expected = stats.ttest_1samp(np.multiply(100, qualities), 0).confidence_interval(0.95)
    assert (row.quality, row.low, row.high) == pytest.approx((81.75, expected.low, expected.high))


def test_one_seed_has_a_mean_and_no_interval() -> None:
    row = frontier(table([run(quality=0.8)]), "train_seconds").iloc[0]
    assert row.quality == pytest.approx(80)
    assert row.low is pd.NA
    assert row.high is pd.NA


def test_qualities_that_are_all_equal_are_known_to_half_a_text_not_exactly() -> None:
    runs = table([run(seed=seed, quality=0.8, test_texts=200) for seed in range(5)])
    row = frontier(runs, "train_seconds").iloc[0]
    half = stats.t.ppf(0.975, 4) * (100 / 200 / 12**0.5) / 5**0.5
    assert row.high - row.quality == pytest.approx(half)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_learning_curves_are_those_of_a_plain_loop(scale: str) -> None:
    draw = np.random.default_rng(3)
    curves = [[[float(t), float(a)] for t, a in zip(np.cumsum(draw.uniform(0.5, 3, 6)), draw.random(6), strict=True)]
              for _ in range(5)]  # fmt: skip
    runs = table([run(seed=seed, validation_curve=json.dumps(curve)) for seed, curve in enumerate(curves)])
    answer = learning_curves(runs, points=25, scale=scale)  # type: ignore[arg-type]
    assert len(answer) > 5
    assert answer["seconds"].iloc[-1] == pytest.approx(max(curve[-1][0] for curve in curves))
    for row in answer.itertuples():
        held = [max(100 * a for t, a in curve if t <= row.seconds * (1 + 1e-9)) for curve in curves]
        assert row.accuracy == pytest.approx(np.mean(held))
        assert (row.low, row.high) == pytest.approx(tuple(np.quantile(held, [0.1, 0.9])))
        assert row.seeds == 5


def test_a_curve_holds_its_best_after_a_worse_evaluation_and_after_its_end() -> None:
    runs = table([run(arm="gru", validation_curve="[[1, 0.6], [2, 0.9], [3, 0.7]]"),
                  run(arm="lstm", validation_curve="[[1, 0.5], [100, 0.8]]")])  # fmt: skip
    last = learning_curves(runs).groupby("arm").last()
    assert last["seconds"].to_list() == pytest.approx([100, 100])
    assert last["accuracy"].to_list() == pytest.approx([90, 80])


def test_curves_of_other_hardware_share_neither_grid_nor_mean() -> None:
    runs = table([run(seed=1, hardware_key="laptop", validation_curve="[[1, 0.5], [2, 0.6]]"),
                  run(seed=2, hardware_key="server", validation_curve="[[9, 0.7], [20, 0.8]]")])  # fmt: skip
    answer = learning_curves(runs).groupby("hardware_key")
    assert answer["seconds"].max().to_dict() == pytest.approx({"laptop": 2, "server": 20})
    assert answer["accuracy"].max().to_dict() == pytest.approx({"laptop": 60, "server": 80})
    assert set(learning_curves(runs)["seeds"]) == {1}


@pytest.mark.parametrize("curve", ["[[0.0, 0.4]]", "[[0.0, 0.4], [0.0, 0.5]]", "[[2.0, 0.5]]"])
def test_a_curve_without_extent_is_one_point(curve: str) -> None:
    answer = learning_curves(table([run(validation_curve=curve)]))
    assert answer["accuracy"].to_list() == pytest.approx([100 * max(a for _, a in json.loads(curve))])
    assert (answer["seconds"] > 0).all()


@pytest.mark.parametrize("missing", [None, "[]"])
def test_runs_without_a_curve_are_left_out(missing: str | None) -> None:
    runs = table([run(seed=1), run(seed=2, validation_curve=missing)])
    assert set(learning_curves(runs)["seeds"]) == {1}
    assert time_to_target(runs)["runs"].to_list() == [1]


def test_the_target_of_the_data_counts_where_there_is_one() -> None:
    curves = ["[[1, 0.5], [2, 0.9]]", "[[1, 0.8], [5, 0.8]]", "[[3, 0.7], [4, 0.95]]"]
    runs = table([run(seed=seed, validation_curve=curve, target_accuracy=0.9) for seed, curve in enumerate(curves)])
    row = time_to_target(runs).iloc[0]
    assert (row.target, row.target_from) == (pytest.approx(90), "data")
    assert row.reached == pytest.approx(2 / 3)
    assert row.seconds == pytest.approx(4)  # of 2, 4 and never


def test_where_half_of_the_runs_never_reach_the_target_the_median_is_unknown() -> None:
    runs = table([run(seed=seed, validation_curve=f"[[1, {a}]]", target_accuracy=0.9)
                  for seed, a in enumerate((0.95, 0.1))])  # fmt: skip
    row = time_to_target(runs).iloc[0]
    assert row.reached == pytest.approx(0.5)
    assert row.seconds is pd.NA


def test_without_a_target_it_is_a_point_below_the_weakest_arm() -> None:
    runs = table([run(arm="gru", validation_curve="[[1, 0.85], [2, 0.88]]"),
                  run(arm="lstm", validation_curve="[[1, 0.79], [3, 0.80]]")])  # fmt: skip
    answer = time_to_target(runs).set_index("arm")
    assert answer["target"].to_list() == pytest.approx([79, 79])
    assert set(answer["target_from"]) == {"runs"}
    assert answer["seconds"].to_dict() == pytest.approx({"gru": 1, "lstm": 1})
    assert set(answer["reached"]) == {1.0}


def test_accuracy_by_length_has_wilsons_interval() -> None:
    runs = table([run(seed=1, test_by_length="[[8, 40, 30], [16, 10, 9]]"),
                  run(seed=2, test_by_length="[[8, 40, 32], [16, 10, 10]]")])  # fmt: skip
    answer = by_length(runs).set_index("longest")
    expected = stats.binomtest(31, 40).proportion_ci(0.95, method="wilson")
    row = answer.loc[8]
    assert (row.texts, row.runs, row.accuracy) == (40, 2, pytest.approx(77.5))
    assert (row.low, row.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert answer.loc[16].accuracy == pytest.approx(95)


def test_differences_by_length_pair_by_seed() -> None:
    gru, lstm = {1: 30, 2: 32, 3: 35}, {1: 33, 2: 34, 3: 36, 4: 10}
    runs = table([run(arm=arm, seed=seed, test_by_length=f"[[8, 40, {correct}]]")
                  for arm, side in (("gru", gru), ("lstm", lstm)) for seed, correct in side.items()])  # fmt: skip
    row = length_differences(runs, "gru", "lstm").iloc[0]
    percent = [np.array([side[seed] for seed in (1, 2, 3)]) / 40 * 100 for side in (lstm, gru)]
    expected = stats.ttest_rel(*percent).confidence_interval(0.95)
    assert (row.runs, row.texts, row.difference) == (3, 40, pytest.approx(5.0))
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_training_sizes_need_two_of_them() -> None:
    runs = [run(scene=0, dataset="mr", train_texts=500), run(scene=1, dataset="mr", train_texts=1000, quality=0.9),
            run(scene=2, dataset="cr", train_texts=800)]  # fmt: skip
    answer = by_training_size(table(runs))
    assert answer[["dataset", "train_texts"]].to_numpy().tolist() == [["mr", 500], ["mr", 1000]]
    assert answer["quality"].to_list() == pytest.approx([80, 90])
    assert by_training_size(table(runs[2:])).empty


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_of_k_trials_is_the_mean_over_all_subsets(values: list[float]) -> None:
    brute = [np.mean([max(chosen) for chosen in combinations(values, k)]) for k in range(1, len(values) + 1)]
    assert expected_best(np.array(values)).tolist() == pytest.approx(brute, abs=1e-9)


def test_more_trials_never_expect_less_and_all_of_them_give_the_best() -> None:
    values = np.random.default_rng(1).random(400)
    best = expected_best(values)
    assert best[0] == pytest.approx(values.mean())
    assert best[-1] == pytest.approx(values.max())
    assert (np.diff(best) >= -1e-12).all()


def test_budgets_are_by_arm_and_a_failed_trial_counts() -> None:
    trials = pd.DataFrame({"dataset": "mr", "arm": ["gru", "gru", "lstm"], "trial": [1, 2, 1],
                           "validation_quality": [0.8, np.nan, 0.7]})  # fmt: skip
    answer = by_budget(trials)
    assert answer[["arm", "trials"]].to_numpy().tolist() == [["gru", 1], ["gru", 2], ["lstm", 1]]
    assert answer["quality"].to_list() == pytest.approx([40, 80, 70])
    assert by_budget(trials.iloc[:0]).empty
    assert list(by_budget(trials.iloc[:0]).columns) == list(answer.columns)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from([0.1, 0.5, 0.9]))
def test_the_band_of_the_best_of_k_is_that_of_all_k_new_draws(values: list[float], share: float) -> None:
    found = best_quantile(np.array(values), share)
    for k in range(1, len(values) + 1):
        best = np.sort([max(chosen) for chosen in product(values, repeat=k)])
        assert found[k - 1] == best[int(np.ceil(share * len(best) - 1e-9)) - 1]


def test_the_band_is_no_point_where_all_trials_are_spent() -> None:
    values = np.random.default_rng(1).random(40)
    low, high = best_quantile(values, 0.1), best_quantile(values, 0.9)
    assert low[-1] < high[-1] == values.max()
    assert (np.diff(low) >= 0).all()
    assert (low <= high).all()


def test_where_trials_learn_from_each_other_the_best_so_far_is_all_there_is_to_say() -> None:
    trials = pd.DataFrame({"dataset": "mr", "arm": "gru", "trial": [3, 0, 1, 2, 4],
                           "validation_quality": [0.7, np.nan, 0.8, np.nan, 0.9]})  # fmt: skip
    answer = by_budget(trials, independent=False)
    assert answer["trials"].to_list() == [2, 3, 4, 5], "nothing before the first trial that came to its end"
    assert answer["quality"].to_list() == pytest.approx([80, 80, 80, 90])
    assert answer[["low", "high"]].isna().all(axis=None)
    assert list(answer.columns) == list(by_budget(trials).columns)
    assert by_budget(trials[trials.trial.isin([0, 2])], independent=False).empty
