"""Arms over several tasks: means, profiles, policies and rankings against hand-made tables, scipy and publications."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.across import (
    aggregate,
    complete,
    improvement,
    paired,
    performance_profile,
    policies,
    wins_and_losses,
)
from bench.analysis.ranking import critical_difference, rank

RUN = {
    "seed": 1, "scene": 0, "dataset": "mr", "embedding": "random", "pooling": "mean", "matching": "parameters",
    "arm": "gru", "quality": 0.8, "validation_accuracy": 0.8, "train_seconds": 10.0, "parameters_total": 1000,
    "parameters_recurrent": 500, "hardware_key": "laptop", "train_texts": 900, "test_texts": 100,
    "test_by_length": "[[8, 40, 30], [16, 60, 50]]", "validation_curve": "[[1.0, 0.6], [2.0, 0.8]]",
    "target_accuracy": None,
}  # fmt: skip
TYPES = {
    "seed": "Int64", "quality": "float64", "validation_accuracy": "float64", "train_seconds": "float64",
    "parameters_total": "Int64", "parameters_recurrent": "Int64", "train_texts": "Int64", "test_texts": "Int64",
    "target_accuracy": "float64", "test_by_length": "string", "validation_curve": "string", "hardware_key": "string",
}  # fmt: skip
EMPTY = {
    "aggregate": lambda runs: aggregate(runs, ["gru", "lstm"], seed=1),
    "profile": lambda runs: performance_profile(runs, ["gru", "lstm"], seed=1),
    "paired": lambda runs: paired(runs, "gru", "lstm"),
    "win tie loss": lambda runs: wins_and_losses(paired(runs, "gru", "lstm"), 1.0),
    "policies": lambda runs: policies(runs, "gru", "lstm", 1.0),
}


def run(**values: object) -> dict[str, object]:
    """One row of the tidy table."""
    row = RUN | {"dataset": f"task{values.get('scene', 0)}"} | values
    return row | {"accuracy": row["quality"]}


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """The tidy table, with the column types that an index of records has."""
    return pd.DataFrame(rows).astype(TYPES)


def study(arms: dict[str, float], scenes: int = 3, seeds: int = 8, draw: int = 0) -> pd.DataFrame:
    """Arms whose quality scatters around a centre of their own in every scene; scenes differ by far more."""
    random = np.random.default_rng(draw)
    return table([
        run(arm=arm, scene=scene, seed=seed, quality=0.5 + 0.1 * scene + centre + random.normal(0, 0.01))
        for scene in range(scenes) for seed in range(seeds) for arm, centre in arms.items()
    ])  # fmt: skip


def sides(gru: list[float], lstm: list[float], **values: object) -> list[dict[str, object]]:
    """Runs of two arms in one scene, seeds counted from 0."""
    return [run(arm=arm, seed=seed, quality=quality, **values)
            for arm, side in (("gru", gru), ("lstm", lstm)) for seed, quality in enumerate(side)]  # fmt: skip


@pytest.mark.parametrize("view", EMPTY)
def test_no_runs_give_an_empty_table_with_the_columns_of_a_full_one(view: str) -> None:
    full, empty = EMPTY[view](study({"gru": 0, "lstm": 0})), EMPTY[view](study({"gru": 0}).iloc[:0])
    assert len(full) > 0
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)


def test_one_arm_has_nothing_to_be_compared_with_but_an_average() -> None:
    runs = study({"gru": 0})
    assert aggregate(runs, ["gru", "lstm"], seed=1)["arm"].to_list() == ["gru"]
    assert set(performance_profile(runs, ["gru", "lstm"], seed=1)["arm"]) == {"gru"}
    assert improvement(runs, "gru", "lstm", seed=1) is None
    assert policies(runs, "gru", "lstm", 1.0).empty
    assert rank(runs, ["gru", "lstm"]).critical_difference is None


def test_only_seeds_that_every_arm_answered_count() -> None:
    runs = table([*sides([0.8, 0.7, 0.1], [0.8, 0.7]), *sides([0.6], [], scene=1)])
    assert complete(runs, ["gru", "lstm"])["quality"].to_list() == [0.8, 0.8, 0.7, 0.7]
    answer = aggregate(runs, ["gru", "lstm"], seed=1)
    assert answer["mean"].to_list() == pytest.approx([75, 75])
    assert answer[["runs", "tasks"]].to_numpy().tolist() == [[2, 1], [2, 1]]


def test_mean_and_iqm_are_numpys_and_scipys() -> None:
    runs = study({"gru": 0, "lstm": 0.05}, scenes=5, seeds=7)
    answer = aggregate(runs, ["lstm", "gru"], seed=1).set_index("arm")
    assert list(answer.index) == ["lstm", "gru"]
    for arm in ("gru", "lstm"):
        quality = 100 * runs.loc[runs["arm"] == arm, "quality"]
        assert answer.loc[arm, "mean"] == pytest.approx(quality.mean())
        assert answer.loc[arm, "iqm"] == pytest.approx(stats.trim_mean(quality, 0.25))


def test_the_bootstrap_interval_of_one_task_is_scipys() -> None:
    runs = study({"gru": 0}, scenes=1, seeds=30)
    runs.loc[:4, "quality"] -= 0.3  # runs that went astray: the middle half knows nothing of them
    row = aggregate(runs, ["gru"], seed=1).iloc[0]
    for name, statistic in (("mean", np.mean), ("iqm", lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))):
        expected = stats.bootstrap(
            (100 * runs["quality"].to_numpy(),), statistic, n_resamples=4000, method="percentile",
            rng=np.random.default_rng(5),
        ).confidence_interval  # fmt: skip
        tolerance = 0.12 * (expected.high - expected.low)
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((expected.low, expected.high), abs=tolerance)


def test_differences_between_tasks_do_not_widen_the_interval() -> None:
    row = aggregate(study({"gru": 0}, scenes=4, seeds=25), ["gru"], seed=1).iloc[0]
    assert row.mean_high - row.mean_low == pytest.approx(2 * 1.96 * 1.0 / 10, rel=0.2)  # 100 runs, 1 point of scatter


def test_the_same_runs_in_any_order_give_the_same_numbers() -> None:
    runs = study({"gru": 0, "lstm": 0.01})
    shuffled = runs.sample(frac=1, random_state=3)
    for view in (lambda rows: aggregate(rows, ["gru", "lstm"], seed=4),
                 lambda rows: performance_profile(rows, ["gru", "lstm"], seed=4)):  # fmt: skip
        pd.testing.assert_frame_equal(view(runs), view(shuffled), check_exact=True)
    assert improvement(runs, "gru", "lstm", seed=4) == improvement(shuffled, "gru", "lstm", seed=4)
    assert improvement(runs, "gru", "lstm", seed=4) != improvement(runs, "gru", "lstm", seed=5)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    runs = study({"gru": 0, "lstm": 0}, seeds=1)
    row = aggregate(runs, ["gru"], seed=1).iloc[0]
    assert row["mean"] == pytest.approx(100 * runs.loc[runs["arm"] == "gru", "quality"].mean())
    assert all(row[bound] is pd.NA for bound in ("mean_low", "mean_high", "iqm_low", "iqm_high"))
    assert performance_profile(runs, ["gru"], seed=1)["low"].isna().all()
    found = improvement(runs, "gru", "lstm", seed=1)
    assert found is not None
    assert (found.low, found.high) == (None, None)


def test_a_profile_is_the_share_of_runs_above_each_level() -> None:
    runs = study({"gru": 0, "lstm": 0.03})
    profile = performance_profile(runs, ["gru", "lstm"], seed=1, points=31)
    assert len(profile) == 62
    for arm, rows in profile.groupby("arm"):
        quality = 100 * runs.loc[runs["arm"] == arm, "quality"].to_numpy()
        assert rows["share"].to_list() == [(quality > level).mean() for level in rows["quality"]]
        assert ((rows["low"] <= rows["share"]) & (rows["share"] <= rows["high"])).all()
    assert profile["quality"].min() == pytest.approx(100 * runs["quality"].min())
    assert profile["quality"].max() == pytest.approx(100 * runs["quality"].max())


def test_a_profiles_band_is_that_of_a_share() -> None:
    profile = performance_profile(study({"gru": 0}, scenes=1, seeds=200), ["gru"], seed=1)
    row = profile.iloc[(profile["share"] - 0.5).abs().argmin()]
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * (0.25 / 200) ** 0.5, rel=0.15)


def test_improvement_is_mann_whitneys_u_averaged_over_tasks() -> None:
    runs = study({"gru": 0, "lstm": 0.005}, scenes=4)
    found = improvement(runs, "gru", "lstm", seed=1)
    qualities = runs.pivot(index=["scene", "seed"], columns="arm", values="quality")
    expected = [stats.mannwhitneyu(task["lstm"], task["gru"]).statistic / 64 for _, task in qualities.groupby("scene")]
    assert found is not None
    assert found.probability == pytest.approx(np.mean(expected))
    assert (found.tasks, found.runs) == (4, 32)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.probability < found.high


def test_the_interval_of_improvement_is_that_of_a_plain_bootstrap() -> None:
    runs = study({"gru": 0, "lstm": 0.005}, scenes=1, seeds=20)
    found = improvement(runs, "gru", "lstm", seed=1)
    gru, lstm = (runs.loc[runs["arm"] == arm, "quality"].to_numpy() for arm in ("gru", "lstm"))
    expected = stats.bootstrap(
        (gru, lstm), lambda a, b: (b[:, None] > a[None]).mean(), vectorized=False, method="percentile",
        n_resamples=3000, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_equal_runs_improve_nothing_and_better_ones_everything() -> None:
    equal = improvement(table(sides([0.8, 0.8], [0.8, 0.8])), "gru", "lstm", seed=1)
    better = improvement(table(sides([0.7, 0.7], [0.8, 0.9])), "gru", "lstm", seed=1)
    assert equal is not None
    assert better is not None
    assert (equal.probability, equal.low, equal.high) == (0.5, 0.5, 0.5)
    assert (better.probability, better.low, better.high) == (1, 1, 1)


def test_a_win_needs_more_than_the_margin() -> None:
    runs = table([*sides([0.80, 0.82], [0.835, 0.845], scene=0), *sides([0.835], [0.845], scene=1),
                  *sides([0.9], [0.7], scene=2)])  # fmt: skip
    answer = wins_and_losses(paired(runs, "gru", "lstm"), 1.0).set_index("dataset")
    assert answer[["wins", "ties", "losses"]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    assert answer["difference"].to_list() == pytest.approx([3, 1, -20, (3 + 1 - 20) / 3])
    assert answer.loc["all", "pairs"] == 4
    by_scene = wins_and_losses(paired(runs, "gru", "lstm"), {0: 5.0, 1: 0.5, 2: 30.0})
    assert by_scene["wins"].to_list() == [0, 1, 0, 1]


def test_what_lies_at_the_margin_is_a_tie_whatever_floats_say() -> None:
    assert 100 * 0.14 - 100 * 0.13 > 1
    single = table(sides([0.13], [0.14]))
    several = table(sides([0.5, 0.5, 0.5], [0.501, 0.502, 0.503]))
    assert np.mean([0.1, 0.2, 0.3]) > 0.2
    for runs, margin in ((single, 1.0), (several, 0.2)):
        assert wins_and_losses(paired(runs, "gru", "lstm"), margin)["ties"].to_list() == [1, 1]
    assert set(policies(single, "gru", "lstm", 1.0)["wrong"]) == {0.0}


def test_two_runs_of_one_arm_task_and_seed_are_refused_not_averaged() -> None:
    with pytest.raises(pd.errors.MergeError):
        paired(table([run(), run(quality=0.9), run(arm="lstm")]), "gru", "lstm")


def test_policies_cost_and_lose_what_a_hand_finds() -> None:
    runs = table([
        run(arm="gru", seed=1, quality=0.80, validation_accuracy=0.90, train_seconds=10.0),
        run(arm="lstm", seed=1, quality=0.84, validation_accuracy=0.85, train_seconds=20.0),  # validation misleads
        run(arm="gru", seed=2, quality=0.80, validation_accuracy=0.80, train_seconds=12.0),
        run(arm="lstm", seed=2, quality=0.82, validation_accuracy=0.85, train_seconds=24.0),
    ])  # fmt: skip
    answer = policies(runs, "gru", "lstm", 3.0)
    assert answer["dataset"].to_list() == ["task0"] * 3 + ["all"] * 3
    task = answer[answer["scene"] == 0].set_index("policy")
    assert list(task.index) == ["baseline_first", "alternative_first", "run_both"]
    assert task["train_seconds"].to_list() == pytest.approx([11, 22, 33])
    assert task["quality"].to_list() == pytest.approx([80, 83, 81])
    assert task["loss"].to_list() == pytest.approx([3, 0, 2])
    assert task["wrong"].to_list() == pytest.approx([0.5, 0, 0.5])
    assert task["alternative"].to_list() == pytest.approx([0, 1, 0.5])
    assert set(task["timed_pairs"]) == {2}
    measured = ["pairs", "train_seconds", "quality", "loss", "wrong", "alternative"]
    total = answer[answer["scene"] == -1]
    assert total[measured].to_numpy().tolist() == task[measured].to_numpy().tolist()  # one task is all there is


def test_every_task_weighs_the_same_in_a_policys_total() -> None:
    runs = table([*sides([0.8] * 3, [0.9] * 3, scene=0), *sides([0.8], [0.7], scene=1)])
    total = policies(runs, "gru", "lstm", 1.0).query("scene == -1").set_index("policy")
    assert total["loss"].to_dict() == pytest.approx({"baseline_first": 5, "alternative_first": 5, "run_both": 5})
    assert total["wrong"].to_dict() == pytest.approx({"baseline_first": 0.5, "alternative_first": 0.5, "run_both": 0.5})
    assert set(total["pairs"]) == {4}


@pytest.mark.parametrize(
    ("lstm", "shipped"),
    [({"train_seconds": 5.0}, 1.0), ({"train_seconds": 20.0}, 0.0), ({"train_seconds": 10.0}, 0.0),
     ({"hardware_key": "server", "train_seconds": 5.0, "parameters_total": 2000}, 0.0),
     ({"hardware_key": "server", "train_seconds": 50.0, "parameters_total": 500}, 1.0)],
    ids=["faster", "slower", "as fast", "other hardware, larger", "other hardware, smaller"],
)  # fmt: skip
def test_a_tie_on_validation_goes_to_the_cheaper(lstm: dict[str, object], shipped: float) -> None:
    answer = policies(table([run(arm="gru"), run(arm="lstm", **lstm)]), "gru", "lstm", 1.0)
    assert set(answer.loc[answer["policy"] == "run_both", "alternative"]) == {shipped}


def test_seconds_on_other_hardware_are_no_cost() -> None:
    answer = policies(table([run(arm="gru"), run(arm="lstm", hardware_key="server")]), "gru", "lstm", 1.0)
    assert answer["train_seconds"].isna().all()
    assert set(answer["timed_pairs"]) == {0}
    assert answer["quality"].to_list() == pytest.approx([80] * 6)


def test_critical_values_are_those_that_demsar_printed() -> None:
    printed = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]  # table 5, two to ten classifiers
    for arms, value in enumerate(printed, start=2):  # some of them cut, not rounded
        assert critical_difference(arms, 1) / (arms * (arms + 1) / 6) ** 0.5 == pytest.approx(value, abs=1e-3)


DEMSAR = {  # table 6: AUC of C4.5 variants on 14 datasets; `voting` told apart as its printed ranks are
    "plain": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1, .940, .619, .972, .957],
    "m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1, .962, .666, .981, .978],
    "cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1, .965, .614, .975, .946],
    "m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1, .962, .669, .9749, .970],
}  # fmt: skip


def test_demsars_example_comes_out_as_printed() -> None:
    runs = table([run(arm=arm, scene=scene, quality=quality)
                  for arm, side in DEMSAR.items() for scene, quality in enumerate(side)])  # fmt: skip
    strict, lenient = rank(runs, list(DEMSAR)), rank(runs, list(DEMSAR), alpha=0.10)
    assert strict.arms == ("m+cf", "m", "cf", "plain")
    assert strict.mean_ranks == pytest.approx((1.964, 2.000, 2.893, 3.143), abs=5e-4)
    assert strict.tasks == 14
    assert (strict.critical_difference, lenient.critical_difference) == pytest.approx((1.25, 1.12), abs=5e-3)
    assert strict.cliques == (("m+cf", "m", "cf", "plain"),)
    assert lenient.cliques == (("m+cf", "m", "cf"), ("cf", "plain"))
    assert strict.friedman_p == pytest.approx(stats.friedmanchisquare(*DEMSAR.values()).pvalue)


def test_friedmans_p_is_scipys_on_the_means_of_seeds() -> None:
    runs = study({"rnn": 0, "gru": 0.004, "lstm": 0.004}, scenes=6, seeds=4, draw=2)
    means = runs.groupby(["scene", "arm"])["quality"].mean().unstack()
    expected = stats.friedmanchisquare(*means.to_numpy().T).pvalue
    assert rank(runs, ["rnn", "gru", "lstm"]).friedman_p == pytest.approx(expected)


def test_arms_that_never_differ_share_a_rank_and_a_clique() -> None:
    runs = table([run(arm=arm, scene=scene) for arm in ("rnn", "gru", "lstm") for scene in range(4)])
    answer = rank(runs, ["rnn", "gru", "lstm"])
    assert answer.mean_ranks == (2, 2, 2)
    assert answer.arms == ("rnn", "gru", "lstm")
    assert answer.friedman_p == 1
    assert answer.cliques == (("rnn", "gru", "lstm"),)


def test_arms_far_apart_form_no_clique() -> None:
    answer = rank(study({"gru": 0, "lstm": 0.2}, scenes=12), ["gru", "lstm"])
    assert answer.arms == ("lstm", "gru")
    assert answer.mean_ranks == (1, 2)
    assert answer.cliques == ()


def test_a_task_that_lacks_an_arm_is_not_ranked() -> None:
    runs = pd.concat([study({"rnn": 0, "gru": 0.1, "lstm": 0.2}, scenes=2),
                      table([run(arm="rnn", scene=9, quality=0.99)])])  # fmt: skip
    answer = rank(runs, ["rnn", "gru", "lstm"])
    assert (answer.tasks, answer.arms) == (2, ("lstm", "gru", "rnn"))


def test_no_runs_have_no_ranking() -> None:
    answer = rank(study({"gru": 0}).iloc[:0], ["gru", "lstm"])
    assert (answer.arms, answer.mean_ranks, answer.cliques, answer.tasks) == ((), (), (), 0)
    assert (answer.friedman_p, answer.critical_difference) == (None, None)
