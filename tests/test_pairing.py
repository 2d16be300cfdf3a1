"""What pairs, what is set apart, and why."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.pairing import Study, study_of
from bench.analysis.pairs import pairs_of
from bench.analysis.simulation import template
from bench.compose import compose
from bench.config import ProtocolConfig
from bench.errors import UserError
from bench.runs.index import frame_of
from bench.runs.record import RunRecord, Status

CONFIG = compose([])
LIKE = replace(template(CONFIG), config=template(CONFIG).config | {"data.name": "news"})
PROTOCOL: ProtocolConfig = CONFIG.protocol


def record(cell: str = "gru", seed: int = 0, accuracy: float = 0.8, **changes: object) -> RunRecord:
    """A finished run; `changes` are fields, or configuration keys with `__` for the dot."""
    config = LIKE.config | {"model.cell": cell}
    config |= {key.replace("__", "."): value for key, value in changes.items() if "__" in key}  # type: ignore[misc]
    fields = {key: value for key, value in changes.items() if "__" not in key}
    name = "-".join([cell, str(seed), *(f"{key}={value}" for key, value in changes.items() if key != "execution_id")])
    return replace(
        LIKE,
        **{"run_id": name, "execution_id": "1", "seed": seed, "test_accuracy": accuracy, "config": config} | fields,
    )  # type: ignore[arg-type]


def study(*records: RunRecord, compare: str = "model.cell") -> Study:
    return study_of(frame_of(records), PROTOCOL, compare)


def reasons(found: Study) -> str:
    return "; ".join(entry.reason for entry in found.apart)


def test_runs_of_one_seed_pair_whatever_the_cell_needs_for_itself() -> None:
    found = study(record("gru"), record("lstm", model__forget_bias=1.0))
    assert found.arms == ("gru", "lstm")
    assert [scene.matching for scene in found.scenes] == ["width"]
    assert found.apart == ()


def test_an_lstm_answers_for_equal_width_and_for_equal_parameters() -> None:
    wide = record("gru", hidden_size_resolved=148, model__match="parameters")
    found = study(record("gru"), record("lstm"), wide)
    scenes = {scene.matching: number for number, scene in enumerate(found.scenes)}
    assert set(scenes) == {"width", "parameters"}
    rows = {number: set(runs.run_id) for number, runs in found.runs.groupby("scene")}
    assert rows[scenes["parameters"]] == {wide.run_id, "lstm-0"}
    assert rows[scenes["width"]] == {"gru-0", "lstm-0"}


def test_equal_wall_clock_is_a_scene_of_its_own() -> None:
    timed = {"model__match": "time", "training__max_seconds": 10.0}
    found = study(record("gru"), record("lstm"), record("gru", **timed), record("lstm", **timed))
    assert sorted(scene.matching for scene in found.scenes) == ["time", "width"]
    assert all(len(pairs.log_times()) == 0 for pairs in pairs_of(found, PROTOCOL) if pairs.scene.matching == "time")


def test_only_common_seeds_pair() -> None:
    found = study(*(record("gru", seed) for seed in range(4)), *(record("lstm", seed) for seed in (1, 3, 7)))
    (pairs,) = pairs_of(found, PROTOCOL)
    assert list(pairs.seeds) == [1, 3]


def test_each_seed_is_subtracted_from_its_own_partner() -> None:
    gru = [record("gru", seed, accuracy) for seed, accuracy in ((2, 0.90), (0, 0.70), (1, 0.80))]
    lstm = [record("lstm", seed, accuracy) for seed, accuracy in ((1, 0.83), (2, 0.91), (0, 0.72))]
    (pairs,) = pairs_of(study(*gru, *lstm), PROTOCOL)
    assert pairs.deltas() == pytest.approx([2, 3, 1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training__epochs": 3}, "differ also in training.epochs (3, there 8)"),
        ({"data__max_length": 17}, "differ also in data.max_length (17"),
        ({"data_fingerprint": "other"}, "another revision of the data"),
        ({"code_version": "other"}, "other code"),
        ({"code_committed": False}, "uncommitted changes"),
        ({"hardware__precision": "bf16"}, "differ also in hardware.precision (bf16"),
        ({"test_accuracy": None}, "no test split"),
    ],
)
def test_what_does_not_pair_is_set_apart_with_the_reason(changes: dict[str, object], reason: str) -> None:
    odd = record("lstm", 1, **changes)  # type: ignore[arg-type]
    found = study(record("gru", 0), record("lstm", 0), record("gru", 1), odd)
    assert odd.run_id not in set(found.runs.run_id)
    assert reason in reasons(found)
    assert any(odd.run_id in entry.run_ids for entry in found.apart)


def test_uncommitted_sources_can_be_allowed() -> None:
    records = frame_of([record("gru", code_committed=False), record("lstm", code_committed=False)])
    assert study_of(records, PROTOCOL).arms == ()
    assert study_of(records, replace(PROTOCOL, uncommitted="allow")).arms == ("gru", "lstm")


def test_one_arm_is_no_comparison_and_says_so() -> None:
    found = study(record("gru", 0), record("gru", 1))
    assert found.scenes == ()
    assert "gru on news: no other arm was run on it" in reasons(found)


def test_failures_take_no_part_and_are_kept_in_view() -> None:
    found = study(record("gru"), record("lstm"), record("lstm", 1, status=Status.DIVERGED, error_type="DivergedError"))
    assert list(found.failures.error_type) == ["DivergedError"]
    assert len(found.runs) == 2


def test_quality_is_that_of_the_first_execution_and_time_the_median() -> None:
    runs = [
        replace(record("gru", 0, 0.80), execution_id="a", started_at="2026-01-01", train_seconds=10.0),
        replace(record("gru", 0, 0.81), execution_id="b", started_at="2026-01-02", train_seconds=30.0),
        replace(record("gru", 0, 0.82), execution_id="c", started_at="2026-01-03", train_seconds=20.0),
    ]
    found = study(*reversed(runs), record("lstm"))
    row = found.runs[found.runs.arm == "gru"].iloc[0]
    assert (row.accuracy, row.train_seconds) == (0.80, 20.0)


def test_times_of_other_hardware_do_not_mix() -> None:
    runs = [record(cell, seed, train_seconds=float(1 + seed)) for cell in ("gru", "lstm") for seed in range(3)]
    runs[-1] = replace(runs[-1], hardware_key="another machine")
    (pairs,) = pairs_of(study(*runs), PROTOCOL)
    assert len(pairs.deltas()) == 3
    assert len(pairs.log_times()) == 2


def test_macro_f1_judges_where_classes_are_uneven() -> None:
    uneven = {"test_confusion": [[90, 10], [5, 15]], "test_macro_f1": 0.6}
    found = study(record("gru", **uneven), record("lstm", **uneven))  # type: ignore[arg-type]
    assert found.metrics == {"news": "macro_f1"}
    assert set(found.runs.quality) == {0.6}


@pytest.mark.parametrize(
    ("compare", "changes", "arms"),
    [
        ("model.bidirectional", {"model__bidirectional": True}, ("bidirectional=false", "bidirectional=true")),
        ("model.pooling", {"model__pooling": "max"}, ("pooling=max", "pooling=mean")),
        ("model.num_layers", {"model__num_layers": 2}, ("num_layers=1", "num_layers=2")),
        ("embedding", {"embedding__name": "glove", "embedding_fingerprint": "f"}, ("random", "glove")),
        ("training.learning_rate", {"training__learning_rate": 0.1}, ("learning_rate=0.008", "learning_rate=0.1")),
    ],
)
def test_any_key_or_group_can_be_compared(compare: str, changes: dict[str, object], arms: tuple[str, ...]) -> None:
    other = record("gru", 0, 0.9, **changes)  # type: ignore[arg-type]
    found = study(record("gru"), other, compare=compare)
    assert found.arms == arms
    assert len(found.scenes) == 1


def test_an_unknown_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"compare=model\.poling.*did you mean 'model\.pooling'"):
        study(record("gru"), compare="model.poling")


def test_scenes_of_the_same_names_are_told_apart_by_what_differs() -> None:
    found = study(
        *(record(cell, 0, training__epochs=epochs) for cell in ("gru", "lstm") for epochs in (4, 8)),
    )
    assert [scene.others for scene in found.scenes] == ["training.epochs=4", "training.epochs=8"]


def test_own_corpora_are_told_apart_by_their_folders() -> None:
    def own(cell: str, folder: str) -> RunRecord:
        return record(cell, 0, data__name="local", data__path=f"~/corpora/{folder}/", data_fingerprint=folder)

    found = study(*(own(cell, folder) for cell in ("gru", "lstm") for folder in ("mails", "songs")))
    assert {scene.dataset for scene in found.scenes} == {"mails", "songs"}


def test_no_records_are_an_empty_study() -> None:
    empty = frame_of([record("gru")]).iloc[:0]
    assert isinstance(empty, pd.DataFrame)
    assert study_of(empty, PROTOCOL).arms == ()


# -- tuning ---------------------------------------------------------------------------------------------------------

SPACE = "training.learning_rate=0.001..0.1 log,model.dropout=0..0.5"


def winner(cell: str, seed: int = 0, rate: float = 0.01, trials: int = 20, **changes: object) -> RunRecord:
    """A run of an arm's winner."""
    search = {"tuning__trials": trials, "tuning__space": SPACE, "training__learning_rate": rate}
    return record(cell, seed, **search | changes)  # type: ignore[arg-type]


def trial(cell: str, number: int, **changes: object) -> RunRecord:
    """A trial of an arm; its test split is not read."""
    tried = {"tuning__trial": number, "data__use_test": False, "test_accuracy": None, "rate": 0.001 * (number + 1)}
    return winner(cell, 1000, **tried | changes)  # type: ignore[arg-type]


def test_winners_pair_although_each_arm_has_values_of_its_own() -> None:
    found = study(*(winner("gru", seed, 0.002) for seed in (0, 1)), *(winner("lstm", seed, 0.08) for seed in (0, 1)))
    (pairs,) = pairs_of(found, PROTOCOL)
    assert list(pairs.seeds) == [0, 1]
    assert found.apart == ()


def test_what_is_not_searched_still_has_to_be_equal() -> None:
    found = study(winner("gru"), winner("lstm", training__epochs=3))
    assert found.scenes == ()
    assert "differ also in training.epochs (3, there 8)" in reasons(found)


def test_trials_are_no_evidence_and_their_number_is_said() -> None:
    tried = [trial(cell, number) for cell in ("gru", "lstm") for number in range(3)]
    failed = trial("lstm", 3, status=Status.DIVERGED)
    found = study(winner("gru"), winner("lstm"), *tried, failed)
    assert set(found.runs.run_id) == {winner("gru").run_id, winner("lstm").run_id}
    assert len(found.scenes) == 1
    assert found.failures.empty
    (apart,) = found.apart
    assert apart.reason.startswith("7 tuning trials: ")
    assert set(apart.run_ids) == {entry.run_id for entry in (*tried, failed)} == set(found.trials.run_id)
    assert study(*tried).arms == ()


def test_a_trial_with_a_test_result_is_no_evidence_either() -> None:
    found = study(trial("gru", 0, test_accuracy=0.9), trial("lstm", 0, test_accuracy=0.1))
    assert found.arms == ()


def test_a_tuned_run_never_pairs_with_one_that_was_not() -> None:
    found = study(winner("gru"), record("lstm", training__learning_rate=0.01))
    assert found.scenes == ()
    assert "gru on news: this one was tuned (20 trials), those of lstm were not tuned" in reasons(found)
    assert "lstm on news: this one was not tuned, those of gru were tuned (20 trials)" in reasons(found)


@pytest.mark.parametrize(
    "other",
    [
        {"tuning__sampler": "tpe"},
        {"tuning__pruner": "median"},
        {"tuning__seed": 7},
        {"tuning__space": f"{SPACE},x=1|2"},
    ],
)
def test_winners_of_another_search_do_not_pair(other: dict[str, object]) -> None:
    found = study(winner("gru"), winner("lstm", **other))  # type: ignore[arg-type]
    assert found.scenes == ()
    assert f"tuned by another search ({next(iter(other)).replace('__', '.')} differ)" in reasons(found)


def test_what_a_search_would_have_been_like_does_not_matter_where_there_was_none() -> None:
    assert len(study(record("gru", tuning__seed=1), record("lstm", tuning__seed=2, tuning__space=SPACE)).scenes) == 1


def test_winners_of_a_raised_budget_are_not_mixed_with_those_of_the_smaller_one() -> None:
    small = [winner(cell, seed, 0.01, 10) for cell in ("gru", "lstm") for seed in (0, 1)]
    large = [winner(cell, seed, 0.02, 20) for cell in ("gru", "lstm") for seed in (0, 1)]
    found = study(*small, *large)
    assert set(found.runs.run_id) == {run.run_id for run in large}
    assert "winners of 10 tuning trials, where those of 20 count" in reasons(found)
    assert not found.runs.duplicated(["scene", "arm", "seed"]).any()
    half = study(*small, *(run for run in large if run.config["model.cell"] == "gru"))
    assert set(half.runs.run_id) == {run.run_id for run in small}, "until every arm has the larger budget"
    assert "winners of 20 tuning trials, where those of 10 count" in reasons(half)


def test_a_pooling_that_each_arm_has_chosen_for_itself_is_a_reading_of_its_own() -> None:
    chosen = {"tuning__space": "model.pooling=max|mean"}
    found = study(winner("gru", model__pooling="max", **chosen), winner("lstm", model__pooling="mean", **chosen))
    assert [scene.pooling for scene in found.scenes] == ["tuned"]
