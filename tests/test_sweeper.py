"""Sweeps: planned before anything runs, nothing repeated, and no failure lost. Real processes throughout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.compose import compose, session
from bench.errors import UserError
from bench.runs.assemble import make_record
from bench.runs.store import Store
from bench.sweeps.grid import expand, name_of
from bench.sweeps.plan import Plan
from bench.sweeps.planner import Planner
from bench.sweeps.stages import settle_time_limits
from tests.conftest import Study
from tests.running import Sweep

ENDLESS = ("training.epochs=100000", "training.patience=null")


def plan_of(study: Study, *arguments: str, name: str | None = None) -> Plan:
    overrides = study.overrides(*arguments)
    with session(overrides) as hydra:
        choices = expand(overrides, {}, hydra.config_loader)
        return Planner(name or name_of(choices), overrides, Store(study.results)).plan(choices)


def choices_of(arguments: list[str], params: dict[str, object]) -> list[tuple[str, ...]]:
    with session() as hydra:
        return [choice.overrides for choice in expand(arguments, params, hydra.config_loader)]


# -- planning ------------------------------------------------------------------------------------------------------


def test_the_last_key_varies_fastest_and_the_command_line_wins_over_the_file() -> None:
    grid = {"model": "rnn,gru", "seed": "range(5)", "data": "local"}
    assert choices_of(["seed=7,8", "training.epochs=2"], grid) == [
        ("model=rnn", "seed=7", "data=local", "training.epochs=2"),
        ("model=rnn", "seed=8", "data=local", "training.epochs=2"),
        ("model=gru", "seed=7", "data=local", "training.epochs=2"),
        ("model=gru", "seed=8", "data=local", "training.epochs=2"),
    ]


def test_a_glob_means_every_option() -> None:
    assert choices_of(["model=glob(*)"], {}) == [
        (f"model={name}",) for name in ("attention", "bag", "gru", "lstm", "rnn")
    ]


def test_an_interval_is_no_grid() -> None:
    with pytest.raises(UserError, match=r"write seed=1,2,3 or range\(1,4\)"):
        choices_of(["seed=interval(0,3)"], {})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.sampled_from([["gru"], ["gru", "rnn"]]))
def test_every_combination_is_planned(seeds: list[int], cells: list[str]) -> None:
    combinations = choices_of([f"seed={','.join(map(str, seeds))}", f"model={','.join(cells)}"], {})
    assert len(combinations) == len(seeds) * len(cells)
    assert {(f"seed={seed}", f"model={cell}") for seed in seeds for cell in cells} == set(combinations)


def test_the_same_run_is_planned_once(study: Study) -> None:
    plan = plan_of(study, "seed=0,1,1", "model=gru,lstm")
    assert (len(plan.members), plan.duplicates) == (4, 2)
    assert len({member.run_id for member in plan.members}) == 4


def test_a_run_that_answers_two_matchings_is_run_once_and_kept_for_both(study: Study) -> None:
    plan = plan_of(study, "model=gru,lstm", "model.match=width,parameters", name="both")
    assert (len(plan.members), plan.duplicates) == (3, 1)
    kept = json.loads(plan.write(Store(study.results)).read_text())["members"]
    lstm = [entry for entry in kept if "model=lstm" in entry["overrides"]]
    assert len({entry["run_id"] for entry in lstm}) == 1
    gru = {entry["run_id"]: entry["pair_key"] for entry in kept if "model=gru" in entry["overrides"]}
    assert {entry["pair_key"] for entry in lstm} == set(gru.values())
    assert len(gru) == len(set(gru.values())) == 2


def test_a_plan_holds_its_protocol_which_is_no_part_of_the_runs(study: Study) -> None:
    plans = [plan_of(study, "seed=0,1", f"protocol.margin={margin}") for margin in (1.0, 2.0)]
    assert plans[0].name == plans[1].name
    assert [m.run_id for m in plans[0].members] == [m.run_id for m in plans[1].members]
    kept = [json.loads(plan.write(Store(study.results)).read_text()) for plan in plans]
    assert [plan["protocol"]["margin"] for plan in kept] == [1.0, 2.0]
    hashes = [plan["protocol_hash"] for plan in kept]
    folder = study.results / "sweeps" / plans[0].name / "protocols"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(hashes)
    assert hashes[0] != hashes[1]


def test_a_question_has_one_protocol(study: Study) -> None:
    with pytest.raises(UserError, match="judged by one protocol"):
        plan_of(study, "seed=0,1", "protocol.margin=1.0,2.0")


def test_a_planned_member_is_what_its_overrides_compose(study: Study) -> None:
    for member in plan_of(study, "seed=3,4", "model=gru,lstm").members:
        assert compose(member.overrides) == member.config
        assert member.config.sweep.member


def test_cells_with_equal_seeds_pair_and_arms_differ_in_the_seed_alone(study: Study) -> None:
    members = {(m.config.model.cell, m.config.seed): m for m in plan_of(study, "seed=0,1", "model=gru,lstm").members}
    assert members["gru", 0].pair_key == members["lstm", 0].pair_key != members["gru", 1].pair_key
    assert members["gru", 0].arm == members["gru", 1].arm != members["lstm", 0].arm


def test_a_typed_question_has_one_name_however_it_is_typed(study: Study) -> None:
    name = plan_of(study, "seed=0,1", "model=gru,lstm").name
    assert name.startswith("multirun-")
    assert plan_of(study, "model=lstm,gru", "seed=range(2)", "dry_run=true").name == name
    assert plan_of(study, "model=lstm,gru", "seed=range(3)").name != name


def test_a_member_that_does_not_validate_stops_the_sweep_before_it_begins(study: Study) -> None:
    answer = study.command("-m", *study.overrides("model.hidden_size=12,-1"))
    assert answer.returncode == 2
    assert "model.hidden_size=-1: should be greater than or equal to 1 (run model.hidden_size=-1)" in answer.stderr
    assert not study.results.exists()


def test_a_dry_run_shows_the_plan_and_writes_nothing(study: Study) -> None:
    answer = study.command("-m", *study.overrides("model=gru,lstm", "seed=range(3)", "dry_run=true"))
    assert (answer.returncode, study.results.exists()) == (0, False)
    assert [line.split()[-4] for line in answer.stdout.splitlines() if "total" in line] == ["6"]


# -- running -------------------------------------------------------------------------------------------------------


def test_a_sweep_runs_what_is_missing_and_skips_what_is_finished(study: Study) -> None:
    typed = study.overrides("model=gru,lstm", "sweep.name=pair")
    alone = study.command("-m", *study.overrides("model=gru", "sweep.name=pair"))
    assert alone.returncode == 0, alone.stderr
    both = study.command("-m", *typed)
    assert both.returncode == 0, both.stderr
    assert "[1/1] model=lstm" in both.stdout
    assert both.stdout.count("skipped") == 1
    third = study.command("-m", *typed)
    assert (third.returncode, third.stdout.count("skipped")) == (0, 2)
    kept = study.records()
    assert [(record.config["model.cell"], record.sweep_name) for record in kept] == [("gru", "pair"), ("lstm", "pair")]
    assert not list(study.results.glob("runs/*/*/weights*"))
    plans = [json.loads(path.read_text()) for path in study.results.glob("sweeps/pair/plan-*.json")]
    assert sorted(len(plan["members"]) for plan in plans) == [1, 2]
    largest = max(plans, key=lambda plan: len(plan["members"]))
    assert {m["run_id"] for m in largest["members"]} == {record.run_id for record in kept}


def test_a_failing_member_stops_no_other_and_is_told_with_its_reason(study: Study) -> None:
    typed = study.overrides("training.learning_rate=1e38,0.02", "training.gradient_clip=null", "sweep.name=rates")
    answer = study.command("-m", *typed)
    assert answer.returncode == 1
    assert [record.status for record in study.records()] == ["diverged", "finished"]
    assert "DivergedError" in answer.stdout
    assert "1 of 2 did not finish; to repeat only those:\n  python -m bench -m " in answer.stdout
    again = study.command("-m", *typed, "retry=diverged")
    assert "[1/1] training.learning_rate=1e+38" in again.stdout
    assert [record.status for record in study.records()] == ["diverged", "finished", "diverged"]


def test_several_workers_share_the_processor_and_log_to_files(study: Study) -> None:
    overrides = [override for override in study.overrides("seed=0,1") if not override.startswith("hardware.threads")]
    answer = study.command("-m", *overrides, "hydra.launcher.workers=2", "sweep.name=two")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count(": finished, ") == 2
    logs = [path.read_text() for path in study.results.glob("sweeps/two/logs/*.log")]
    assert len(logs) == 2
    assert all("finished: test accuracy" in log for log in logs)
    first, second = study.records()
    assert first.threads == second.threads == max(1, (first.cpu_cores or 2) // 2)


def test_members_do_not_take_themselves_for_part_of_a_distributed_run(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert study.command("-m", *study.overrides("model=gru")).returncode == 0
    assert [record.status for record in study.records()] == ["finished"]


def test_hydras_own_launcher_serves_too(study: Study) -> None:
    hydra = ["hydra/launcher=basic", f"hydra.sweep.dir={study.folder / 'hydra'}"]
    answer = study.command("-m", *study.overrides("model=gru,lstm"), *hydra)
    assert answer.returncode == 0, answer.stderr
    assert [record.status for record in study.records()] == ["finished", "finished"]


# -- equal wall-clock ----------------------------------------------------------------------------------------------


def finish_in(study: Study, plan: Plan, seconds: dict[str, list[float]]) -> None:
    """Records of runs that took so long, by cell and seed; none where the list ends."""
    for member in plan.members:
        taken = seconds[member.config.model.cell]
        if member.config.seed < len(taken):
            known = {"status": "finished", "hardware_key": "one", "train_seconds": taken[member.config.seed]}
            Store(study.results).write(make_record(member, datetime.now(UTC), known))


def test_everyone_gets_the_median_of_the_faster_cell_and_a_restart_the_same(study: Study) -> None:
    typed = ("model=gru,lstm", "model.match=width,time", "seed=0,1,2")
    first = plan_of(study, *typed, name="clock")
    assert (len(first.members), len(first.waiting)) == (6, 6)
    finish_in(study, first, {"gru": [4.0, 9.0, 5.04], "lstm": [6.0, 7.0, 1.0]})
    assert settle_time_limits(first, Store(study.results)) == {}
    second = plan_of(study, *typed, name="clock")
    assert (len(second.members), len(second.waiting)) == (12, 0)
    timed = [member for member in second.members if member.config.model.match == "time"]
    assert {member.config.training.max_seconds for member in timed} == {5.0}
    assert len({member.pair_key for member in timed}) == 3
    again = plan_of(study, *typed, name="clock")
    assert [member.run_id for member in again.members] == [member.run_id for member in second.members]


def test_without_a_finished_run_of_every_cell_there_is_no_time_limit_but_a_reason(study: Study) -> None:
    plan = plan_of(study, "model=gru,lstm", "model.match=width,time", name="clock")
    finish_in(study, plan, {"gru": [4.0], "lstm": []})
    (reason,) = settle_time_limits(plan, Store(study.results)).values()
    assert reason == "no run finished of: model=lstm model.match=width"


def test_each_task_has_a_time_limit_of_its_own(study: Study) -> None:
    plan = plan_of(study, "model=gru,lstm", "model.match=width,time", "data.max_length=10,20", name="clock")
    finish_in(study, plan, {"gru": [4.0], "lstm": [5.0]})
    assert len({waiting.after for waiting in plan.waiting}) == 2


def test_equal_wall_clock_alone_has_nothing_to_take_its_seconds_from(study: Study) -> None:
    with pytest.raises(UserError, match=r"write model.match=width,time or set training.max_seconds=SECONDS"):
        plan_of(study, "model=gru,lstm", "model.match=parameters,time")
    plan = plan_of(study, "model=gru,lstm", "model.match=parameters,time", "training.max_seconds=3")
    assert not plan.waiting


def test_runs_at_equal_wall_clock_come_after_those_at_equal_width(study: Study) -> None:
    typed = study.overrides("model.match=width,time", "model=gru,lstm", "sweep.name=clock")
    planned = study.command("-m", *typed, "dry_run=true")
    assert planned.stdout.count("1, after equal") == 2, planned.stdout
    answer = study.command("-m", *typed, "hydra.launcher.workers=2")
    assert answer.returncode == 0, answer.stderr
    kept = study.records()
    assert [record.config["model.match"] for record in kept] == ["width", "width", "time", "time"]
    faster = min(record.train_seconds or 0 for record in kept[:2])
    assert {record.config["training.max_seconds"] for record in kept[2:]} == {max(0.1, round(faster, 1))}
    assert len({record.pair_key for record in kept[2:]}) == 1
    again = study.command("-m", *typed)
    assert (again.returncode, again.stdout.count("skipped")) == (0, 4)


def test_what_gets_no_time_limit_is_told_with_the_reason(study: Study) -> None:
    diverging = ("training.learning_rate=1e38", "training.gradient_clip=null", "sweep.name=clock")
    answer = study.command("-m", *study.overrides("model.match=width,time", "model=gru", *diverging))
    assert answer.returncode == 1
    assert [record.status for record in study.records()] == ["diverged"]
    assert "not run" in answer.stdout
    assert "no run finished of" in answer.stdout
    assert "2 of 2 did not finish" in answer.stdout


# -- ends that nobody planned --------------------------------------------------------------------------------------


@pytest.fixture
def sweep(study: Study, request: pytest.FixtureRequest) -> Iterator[Sweep]:
    running = Sweep(study, *study.overrides(*request.param))
    yield running
    running.close()


@pytest.mark.parametrize("sweep", [("training.epochs=100000,2", "training.patience=null")], indirect=True)
def test_a_killed_member_gets_a_record_from_its_parent_and_the_sweep_goes_on(study: Study, sweep: Sweep) -> None:
    sweep.wait_for("epoch 1/100000")
    sweep.wait_for_members()[0].kill()
    assert sweep.end() == 1
    killed, other = study.records()
    assert (killed.status, killed.error_type) == ("failed", "Killed")
    assert "SIGKILL" in (killed.error_message or "")
    assert killed.config["training.epochs"] == 100000
    assert other.status == "finished"
    assert "Killed" in sweep.text


@pytest.mark.parametrize("sweep", [("seed=0,1", *ENDLESS)], indirect=True)
def test_what_a_member_said_before_it_gave_up_is_in_its_record(study: Study, sweep: Sweep) -> None:
    sweep.wait_for("epoch 1/100000")
    shutil.rmtree(study.data)
    sweep.wait_for_members()[0].kill()
    assert sweep.end() == 1
    killed, refused = study.records()
    assert (killed.error_type, refused.error_type, refused.status) == ("Killed", "UserError", "failed")
    assert f"data.path={study.data}: no such file or folder" in (refused.error_message or "")


@pytest.mark.parametrize("sweep", [("seed=0,1", *ENDLESS)], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_its_member_with_a_record_and_shows_the_table(
    study: Study, sweep: Sweep, number: signal.Signals
) -> None:
    sweep.wait_for("epoch 2/100000")
    member = sweep.wait_for_members()[0]
    os.kill(sweep.process.pid, number)
    assert sweep.end() == 130
    assert not member.is_running()
    assert [record.status for record in study.records()] == ["interrupted"]
    assert "not run" in sweep.text
    assert "2 of 2 did not finish" in sweep.text


@pytest.mark.parametrize("sweep", [("seed=0,1,2", "hydra.launcher.workers=2", *ENDLESS)], indirect=True)
def test_members_run_side_by_side_and_one_stopped_before_it_could_speak_has_a_record(
    study: Study, sweep: Sweep
) -> None:
    members = sweep.wait_for_members(2)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.end() == 130
    assert not any(member.is_running() for member in members)
    assert [record.status for record in study.records()] == ["interrupted", "interrupted"]
    assert sweep.text.count("not run") == 1


def test_an_interrupted_run_leaves_a_record_and_exit_code_130(study: Study) -> None:
    command = [sys.executable, "-u", "-m", "bench", *study.overrides(*ENDLESS)]
    with subprocess.Popen(command, cwd=study.folder, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "epoch 1/100000" in line)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted: stopped by SIGINT" in rest
    assert [record.status for record in study.records()] == ["interrupted"]
