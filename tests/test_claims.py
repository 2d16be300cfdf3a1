"""A claim gets yes, no or not shown: of runs whose truth is known, as it was declared, and never of other runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.analysis.claim_runs import planned_runs
from bench.analysis.claims import NO, NOT_SHOWN, YES, Found, answer, judge, overall
from bench.claims import ClaimConfig, Measure, check_claim, plain_value
from bench.errors import UserError
from bench.runs.questions import SweepMember
from bench.runs.stored_claims import check_fields

Value = Callable[[str, int, str, float], float]  # of a model, a seed, a corpus and a size
SIZES = (0.05, 0.1, 0.25, 0.5, 1.0)
ACCURACY = Measure(name="accuracy", field="test_accuracy", arm="model=gru", against="model=lstm", direction="higher")


def runs_of(
    value: Value,
    *,
    field: str = "test_accuracy",
    seeds: int = 5,
    corpora: tuple[str, ...] = ("trec6",),
    sizes: tuple[float, ...] = (1.0,),
    along: str = "data.train_fraction",
    **changes: object,
) -> pd.DataFrame:
    """Runs of a grid over two models, as planned and measured."""
    rows = [
        {"run_id": f"{model}-{corpus}-{size}-{seed}", "seed": seed, "status": "finished", "model": model,
         "data": corpus, along: plain_value(str(size)), "hardware_key": "box", "timing_disturbed": False,
         "classes": 6, field: value(model, seed, corpus, size), **changes}
        for corpus in corpora for size in sizes for seed in range(seeds) for model in ("gru", "lstm")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def better_by(points: float, spread: float = 0.2) -> Value:
    """The GRU is better by so many points, with a spread around it; seeds differ by far more."""
    noise = np.random.default_rng(3).normal(size=100)

    def value(model: str, seed: int, corpus: str, size: float) -> float:
        own = (points + spread * noise[seed]) / 100 if model == "gru" else 0.0
        return 0.8 + 0.05 * math.sin(seed) + 0.1 * len(corpus) / 10 + own

    return value


def verdict(value: Value, **changes: object) -> str:
    return judge(replace(ACCURACY, **changes), runs_of(value)).verdict  # type: ignore[arg-type]


# -- differences ---------------------------------------------------------------------------------------------------


def test_an_interval_beyond_the_margin_is_a_yes_one_before_it_a_no() -> None:
    assert verdict(better_by(3), margin=1.0) == YES
    assert verdict(better_by(0.2), margin=1.0) == NO
    assert verdict(better_by(1), margin=1.0) == NOT_SHOWN
    assert verdict(better_by(-3)) == NO
    assert verdict(better_by(-3), direction="lower", margin=2.0) == YES
    assert verdict(better_by(3), direction="lower") == NO


def test_equal_means_that_the_whole_interval_lies_within_the_margin() -> None:
    assert verdict(better_by(0.1), direction="equal", margin=1.0) == YES
    assert verdict(better_by(3), direction="equal", margin=1.0) == NO
    assert verdict(better_by(0.1, spread=5), direction="equal", margin=1.0) == NOT_SHOWN


def test_runs_pair_by_seed_so_that_what_seeds_share_cancels() -> None:
    found = judge(ACCURACY, runs_of(better_by(1, spread=0.1)))
    assert found.estimate == pytest.approx(1, abs=0.1)
    assert found.low is not None
    assert found.low > 0.5
    assert (found.seeds, found.unit) == (5, "points")


def test_several_corpora_are_averaged_seed_by_seed() -> None:
    def value(model: str, seed: int, corpus: str, size: float) -> float:
        return {"trec6": 0.04, "cr": 0.02}[corpus] * (model == "gru") + 0.001 * seed * (model == "gru")

    found = judge(ACCURACY, runs_of(value, corpora=("trec6", "cr")))
    assert found.tasks == ("cr", "trec6")
    assert found.estimate == pytest.approx(3.2)
    runs = runs_of(value, corpora=("trec6", "cr"))
    lost = (runs["data"] == "cr") & (runs["seed"] == 4)
    fewer = judge(ACCURACY, runs[~lost])
    assert (fewer.seeds, fewer.estimate) == (4, pytest.approx(3.15))
    assert "1 seeds left out, which not all tasks have" in fewer.notes


def test_one_seed_shows_nothing() -> None:
    found = judge(ACCURACY, runs_of(better_by(9), seeds=1))
    assert (found.verdict, found.low, found.seeds) == (NOT_SHOWN, None, 1)
    assert found.notes == ("needs two seeds or more",)


def test_runs_of_other_words_take_no_part() -> None:
    runs = runs_of(better_by(3))
    others = runs.assign(model="rnn", test_accuracy=0.0, run_id=runs["run_id"] + "x")
    together = pd.concat([runs, others], ignore_index=True)
    assert judge(ACCURACY, together).estimate == judge(ACCURACY, runs).estimate
    nothing = judge(replace(ACCURACY, arm="model=mgu"), runs)
    assert (nothing.verdict, nothing.notes) == (NOT_SHOWN, ("no run of model=mgu has test_accuracy",))


def test_where_chooses_the_runs_and_a_key_may_have_several_values() -> None:
    runs = runs_of(better_by(3), corpora=("trec6", "cr", "mr"))
    assert judge(replace(ACCURACY, where="data=cr"), runs).tasks == ("",)
    assert judge(replace(ACCURACY, where="data=cr data=mr"), runs).tasks == ("cr", "mr")


def test_a_run_that_diverged_is_as_accurate_as_guessing_and_has_no_speed() -> None:
    runs = runs_of(lambda model, seed, corpus, size: 0.5 + 0.01 * seed)
    lost = (runs["model"] == "lstm") & (runs["seed"] == 0)
    runs = runs.assign(status=runs["status"].where(~lost, "diverged"), step_milliseconds_p50=1.0)
    runs["test_accuracy"] = runs["test_accuracy"].where(~lost)
    found = judge(ACCURACY, runs)
    assert found.estimate == pytest.approx(100 * (0.5 - 1 / 6) / 5)
    speed = replace(ACCURACY, kind="ratio", field="step_milliseconds_p50", direction="lower")
    assert judge(speed, runs).seeds == 4


def test_the_error_of_a_claim_at_its_margin_is_at_most_alpha_on_either_side() -> None:
    draw = np.random.default_rng(0)
    said = {YES: 0, NO: 0, NOT_SHOWN: 0}
    runs = runs_of(lambda *_: 0.0)
    for _ in range(300):
        noise = draw.normal(0, 0.01, len(runs)) + 0.01 * (runs["model"] == "gru")
        said[judge(replace(ACCURACY, margin=1.0), runs.assign(test_accuracy=0.8 + noise)).verdict] += 1
    assert said[YES] <= 0.05 * 300
    assert said[NO] <= 0.05 * 300


# -- other kinds ---------------------------------------------------------------------------------------------------


def test_a_ratio_is_a_geometric_mean_of_pairs() -> None:
    def milliseconds(model: str, seed: int, corpus: str, size: float) -> float:
        return (3 if model == "gru" else 4) * math.exp(0.5 * seed) * (1.01 if seed % 2 else 1)

    measure = Measure(name="time", field="step_milliseconds_p50", kind="ratio", arm="model=gru", against="model=lstm",
                      direction="lower")  # fmt: skip
    runs = runs_of(milliseconds, field="step_milliseconds_p50")
    found = judge(measure, runs)
    assert (found.verdict, found.unit) == (YES, "times")
    assert found.estimate == pytest.approx(0.75)
    assert judge(replace(measure, margin=1.5), runs).verdict == NO
    apart = runs.assign(hardware_key=runs["model"])
    assert judge(measure, apart).notes == ("no pair of runs was timed on the same hardware",)
    noted = judge(measure, runs.assign(timing_disturbed=runs["model"] == "gru")).notes
    assert noted == ("the timing of 5 of 10 runs was disturbed by other programs",)


def test_equal_counts_are_no_fewer() -> None:
    measure = Measure(name="parameters", field="parameters_recurrent", kind="ratio", arm="model=gru",
                      against="model=lstm", direction="lower")  # fmt: skip
    assert judge(measure, runs_of(lambda *_: 100.0, field="parameters_recurrent")).verdict == NO


def test_an_interaction_is_the_slope_of_the_paired_difference_per_doubling() -> None:
    def gap(model: str, seed: int, corpus: str, size: float) -> float:
        return 0.3 + 0.02 * seed + (0.02 * math.log2(size) + 0.001 * math.sin(9 * seed)) * (model == "gru")

    measure = Measure(name="gap", field="generalisation_gap", kind="interaction", arm="model=gru",
                      against="model=lstm", along="data.train_fraction", direction="higher")  # fmt: skip
    found = judge(measure, runs_of(gap, field="generalisation_gap", sizes=SIZES))
    assert (found.verdict, found.seeds) == (YES, 5)
    assert found.estimate == pytest.approx(2)
    assert found.unit == "points per doubling of data.train_fraction"
    few = judge(measure, runs_of(gap, field="generalisation_gap", sizes=SIZES[:4]))
    assert few.verdict == NOT_SHOWN
    assert few.notes == ("needs 5 values of data.train_fraction for both arms of a seed",)


def test_an_exponent_is_the_growth_of_a_field_along_a_key() -> None:
    def cost(model: str, seed: int, corpus: str, size: float) -> float:
        return (1 + 0.1 * seed) * size ** (1.0 if model == "lstm" else 1.5 + 0.001 * seed)

    measure = Measure(name="growth", field="step_milliseconds_p50", kind="exponent", arm="model=gru",
                      against="model=lstm", along="data.length", direction="higher", margin=0.4)  # fmt: skip
    runs = runs_of(cost, field="step_milliseconds_p50", sizes=(32, 64, 128, 256), along="data.length")
    against = judge(measure, runs)
    assert (against.verdict, against.estimate) == (YES, pytest.approx(0.502))
    assert judge(replace(measure, against=None), runs).estimate == pytest.approx(1.502)


def test_a_ladder_compares_the_longest_lengths_that_are_solved() -> None:
    def solved(model: str, seed: int, corpus: str, size: float) -> float:
        return 0.99 if size <= (100 if model == "gru" else 50) else 0.5

    measure = Measure(name="memory", field="test_accuracy", kind="ladder", arm="model=gru", against="model=lstm",
                      along="data.length", direction="higher")  # fmt: skip
    runs = runs_of(solved, sizes=(25, 50, 100, 200), along="data.length")
    found = judge(measure, runs)
    assert (found.verdict, found.estimate) == (YES, pytest.approx(2))
    assert found.notes == ("model=gru: up to 100", "model=lstm: up to 50")
    assert judge(replace(measure, arm="model=lstm", against="model=gru"), runs).verdict == NO
    short = runs[pd.to_numeric(runs["data.length"]) <= 50]
    assert judge(measure, short).verdict == NOT_SHOWN  # both solve all: the ladder is too short to tell
    assert judge(measure, runs[runs["seed"] < 3]).verdict == NOT_SHOWN


# -- claims --------------------------------------------------------------------------------------------------------


def claim(*measures: Measure) -> ClaimConfig:
    return ClaimConfig(says="The GRU is better", source="lectures", held="width", measures=measures)


def test_a_claim_holds_where_all_of_it_does_and_fails_where_one_part_does() -> None:
    runs = runs_of(better_by(1, spread=0.1))
    yes, no = replace(ACCURACY, margin=0.5), replace(ACCURACY, margin=2.0)
    unclear = replace(ACCURACY, margin=1.0)
    answers = [answer("q", claim(*parts), runs) for parts in ((yes,), (yes, unclear), (yes, unclear, no))]
    assert [entry.verdict for entry in answers] == [YES, NOT_SHOWN, NO]
    assert overall(answers) == "Of 3 claims, 1 held here, 1 did not, and 1 were not shown either way."
    assert overall(answers[:1]) == "Yes, it held here: The GRU is better."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": "gru"}, "KEY=VALUE words"),
        ({"against": "model=gru"}, "with itself"),
        ({"against": None}, "needs against="),
        ({"kind": "interaction"}, "needs along="),
        ({"along": "data.length"}, "means nothing to kind=difference"),
        ({"kind": "ratio", "margin": 0.5}, "1 or more"),
        ({"direction": "equal"}, "needs a margin"),
        ({"field": "test_acuracy"}, "did you mean 'test_accuracy'"),
    ],
)
def test_a_claim_that_cannot_be_answered_is_refused_in_one_line(changes: Mapping[str, object], message: str) -> None:
    def check(wrong: ClaimConfig) -> None:
        check_claim(wrong)
        check_fields(wrong)

    with pytest.raises(UserError, match=message) as refused:
        check(claim(replace(ACCURACY, **changes)))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_arms_are_chosen_by_the_words_of_the_plan_whatever_a_shared_record_says() -> None:
    members = [
        SweepMember(run_id=run, pair_key="p", arm="a", seed=0,
                    overrides=("+sweep=claims/x", f"model.match={match}", "model=lstm", "results=there", "seed=0"))
        for run, match in (("one", "width"), ("one", "parameters"), ("two", "width"))
    ]  # fmt: skip
    records = pd.DataFrame({"run_id": ["one", "one", "other"], "status": ["failed", "finished", "finished"],
                            "test_accuracy": [None, 0.9, 0.1], "model.match": ["width"] * 3})  # fmt: skip
    runs = planned_runs(members, records)
    assert runs["model.match"].tolist() == ["width", "parameters", "width"]
    assert runs["status"].tolist() == ["finished", "finished", "missing"]
    assert runs["test_accuracy"].fillna(-1).tolist() == [0.9, 0.9, -1]
    assert "results" not in runs


def test_what_is_found_says_its_unit() -> None:
    found: Found = judge(replace(ACCURACY, field="flops_per_token"), runs_of(lambda *_: 1.0, field="flops_per_token"))
    assert (found.unit, found.estimate) == ("", 0)
