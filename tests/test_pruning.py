"""Pruning: a trial that lags behind the earlier ones of its arm ends after an epoch, on all of its processes."""

from __future__ import annotations

import json

import optuna
import pytest

import bench
from bench.runs.record import RunRecord, Status
from bench.sweeps.grid import Choice
from tests.conftest import Study
from tests.test_tuning import SPACE, Search, value

EPOCHS = 4
LONG = (f"training.epochs={EPOCHS}", "training.patience=null")


def with_earlier_trials(study: Study, accuracy: float) -> tuple[Search, Choice]:
    """The sixth trial of a study whose first five were as accurate as that after every epoch."""
    search = Search(study, "tuning.trials=6", "tuning.pruner=median", *LONG)
    for _ in range(5):
        (trial,) = search.tuner.next_round()
        report(search, trial, accuracy)
        search.take_in([trial], lambda _: accuracy)
    (trial,) = search.tuner.next_round()
    assert value(trial, "tuning.trial") == "5"
    return search, trial


def report(search: Search, trial: Choice, accuracy: float) -> None:
    """What a trial's own process leaves in its study."""
    storage = search.tuner.database.open()
    (name,) = optuna.get_all_study_names(storage)
    number, study_id = int(value(trial, "tuning.trial")), storage.get_study_id_from_name(name)
    place = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    for epoch in range(1, EPOCHS + 1):
        storage.set_trial_intermediate_value(place, epoch, accuracy)


def overrides_of(search: Search, trial: Choice) -> list[str]:
    (member,) = search.planner.plan([trial]).members
    return list(member.overrides)


def test_a_trial_that_lags_behind_is_stopped_and_never_wins(study: Study) -> None:
    search, trial = with_earlier_trials(study, 0.99)
    record = bench.run(overrides_of(search, trial))
    assert (record.status, record.stop_reason, record.epochs_run) == (Status.FINISHED, "pruned", 1)
    better = RunRecord.from_mapping(json.loads(record.to_json()) | {"validation_accuracy": 1.0})
    search.tuner.take_in([(trial, better)])
    assert search.tuner.next_round() == [], "it counts"
    assert search.tuner.winners()["all"].trial == 0


def test_a_trial_that_keeps_up_goes_on_to_its_end(study: Study) -> None:
    search, trial = with_earlier_trials(study, 0.01)
    record = bench.run(overrides_of(search, trial))
    assert (record.stop_reason, record.epochs_run) == ("epochs", EPOCHS)


def test_both_processes_of_a_distributed_trial_stop_together(study: Study) -> None:
    search, trial = with_earlier_trials(study, 0.99)
    two = ("hardware=ddp", "hardware.accelerator=cpu", "hardware.devices=2")
    done = study.command(*overrides_of(search, trial), *two)
    assert done.returncode == 0, done.stderr
    (path,) = study.results.glob("runs/*/*/record.json")
    record = RunRecord.from_json(path.read_text())
    assert (record.stop_reason, record.epochs_run, record.devices) == ("pruned", 1, 2)


def test_what_was_stopped_early_is_no_result_for_a_search_without_a_pruner(study: Study) -> None:
    search, trial = with_earlier_trials(study, 0.99)
    pruned = bench.run(overrides_of(search, trial))
    plain = Search(study, "tuning.trials=6", *LONG)
    (same,) = [other for other in plain.tuner.next_round() if value(other, "tuning.trial") == "5"]
    assert {o for o in same.overrides if "=" in o} >= {o for o in trial.overrides if o.startswith("training.learning")}
    record = bench.run(overrides_of(plain, same))
    assert (record.run_id == pruned.run_id, record.stop_reason) == (False, "epochs")


@pytest.mark.parametrize("gone", ["study.db"])
def test_a_trial_without_its_study_is_refused_in_one_line(study: Study, gone: str) -> None:
    search, trial = with_earlier_trials(study, 0.99)
    (path,) = study.results.glob(f"sweeps/*/tuning/{gone}")
    path.unlink()
    done = study.command(*overrides_of(search, trial))
    assert done.returncode == 2
    assert done.stderr == "bench: tuning.trial=N is set by the sweeper: start trials with -m tuning.trials=N\n"


def test_a_sweep_with_a_pruner_spends_its_budget_and_its_winner_came_to_its_end(study: Study) -> None:
    search = ("tuning.trials=4", "tuning.pruner=halving", SPACE)
    done = study.command("-m", *study.overrides("seed=0", "sweep.name=halved", *search, *LONG))
    assert done.returncode == 0, done.stdout + done.stderr
    found = [RunRecord.from_json(path.read_text()) for path in study.results.glob("runs/*/*/record.json")]
    trials = {record.config["tuning.trial"]: record for record in found if record.config["tuning.trial"] is not None}
    assert sorted(trials) == list(range(4))
    pruned = [record for record in trials.values() if record.stop_reason == "pruned"]
    assert pruned
    assert all((record.epochs_run or 0) < EPOCHS for record in pruned)
    (winner,) = [record for record in found if record.config["tuning.trial"] is None]
    whole = {record.config["training.learning_rate"] for record in trials.values() if record.stop_reason != "pruned"}
    assert winner.config["training.learning_rate"] in whole
