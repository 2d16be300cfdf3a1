"""What a second call of a sweep does with what the first one left: skip, leave, go on, repeat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from tests.conftest import Study

DIVERGING = "training.learning_rate=0.02,1e38"


def retried(stdout: str) -> list[str]:
    """The command that the closing lines say to type, as words."""
    return next(line for line in stdout.splitlines() if line.startswith("  python -m bench")).split()[3:]


def test_what_diverged_is_left_until_it_is_asked_for_and_the_sweep_says_how(study: Study) -> None:
    typed = study.overrides(DIVERGING, "training.gradient_clip=null", "training.epochs=1")
    assert study.command("-m", *typed).returncode == 1
    assert sorted(record.status for record in study.records()) == ["diverged", "finished"]
    again = study.command("-m", *typed)
    assert again.returncode == 1, "what failed before still counts"
    assert "diverged before" in again.stdout
    assert len(study.records()) == 2, "nothing was run"
    repeat = study.command(*retried(again.stdout))
    assert "retry=diverged" in retried(again.stdout)
    assert repeat.returncode == 1
    assert [record.status for record in study.records()].count("diverged") == 2
    assert [record.status for record in study.records()].count("finished") == 1, "what finished is not repeated"


def test_retry_chooses_by_how_a_run_ended(study: Study) -> None:
    typed = study.overrides(DIVERGING, "training.gradient_clip=null", "training.epochs=1")
    study.command("-m", *typed)
    planned = study.command("-m", *typed, "retry=failed", "dry_run=true")
    assert "estimated time" not in planned.stdout, "nothing failed, one run diverged: nothing to run"
    planned = study.command("-m", *typed, "retry=all", "dry_run=true")
    assert "estimated time" in planned.stdout


def test_one_run_has_nothing_to_retry(study: Study) -> None:
    answer = study.command(*study.overrides("retry=failed"))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.strip() == (
        "bench: retry=failed chooses among the runs of a sweep: add -m; force=true repeats one run"
    )


def test_a_sweep_that_was_killed_goes_on_from_the_checkpoint_of_its_run(study: Study) -> None:
    typed = study.overrides("training.epochs=400", "training.patience=null", "seed=0,1", "data.max_length=20")
    command = [sys.executable, "-u", "-m", "bench", "-m", *typed]
    with subprocess.Popen(command, cwd=study.folder, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "epoch 3/400" in line)
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not study.records() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [record.status for record in study.records()] == ["interrupted"], "its run ended with it, and said so"
    answer = study.command("-m", *typed)
    assert answer.returncode == 0, answer.stderr
    assert "goes on after epoch" in answer.stdout
    resumed = next(record for record in study.records() if record.resumed_from)
    assert resumed.resumed_from == study.records()[0].execution_id
    assert (resumed.resumed_epochs or 0) >= 2
    assert [record.status for record in study.records()].count("finished") == 2


def test_tuning_picks_a_recipe_per_arm_and_only_its_winners_enter_the_verdict(study: Study) -> None:
    typed = study.overrides(
        "model=gru,lstm", "training.epochs=2", "tuning.trials=2", "until=verdict", "protocol.looks=[2,3]",
        "model.pooling=mean", "model.match=parameters", "protocol.uncommitted=allow", "sweep.name=tuned",
    )  # fmt: skip
    answer = study.command("-m", *typed)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    trials = [record for record in study.records() if record.config["tuning.trial"] is not None]
    winners = [record for record in study.records() if record.config["tuning.trial"] is None]
    assert len(trials) == 4
    assert {record.test_accuracy for record in trials} == {None}, "trials never read the test split"
    assert {record.seed for record in trials} == {1000}
    assert {record.seed for record in winners} <= {0, 1, 2}
    assert {record.config["tuning.trials"] for record in winners} == {2}, "the record says which budget it came from"
    by_cell = {cell: {r.config["training.learning_rate"] for r in winners if r.config["model.cell"] == cell}
               for cell in ("gru", "lstm")}  # fmt: skip
    assert all(len(rates) == 1 for rates in by_cell.values())
    pairs = {(record.pair_key, record.seed) for record in winners}
    assert len(pairs) == len(winners) / 2, "winners of two cells pair, whatever recipe each has"
    assert "look 1 of 2, 2 seeds" in answer.stdout
    plan = json.loads(next((study.results / "sweeps" / "tuned").glob("plan-*.json")).read_text())
    assert {member["run_id"] for member in plan["members"]} <= {record.run_id for record in winners}
    again = study.command("-m", *typed)
    assert again.returncode == 0, again.stderr
    assert len(study.records()) == len(trials) + len(winners), "the budget is spent, and everything is there"


def test_a_larger_budget_adds_trials_to_the_question_and_its_winners_are_runs_of_their_own(study: Study) -> None:
    typed = study.overrides("model=gru,lstm", "training.epochs=1", "seed=0", "data.max_length=6")
    assert study.command("-m", *typed, "tuning.trials=1", "hydra.launcher.workers=2").returncode == 0
    answer = study.command("-m", *typed, "tuning.trials=2", "hydra.launcher.workers=2")
    assert answer.returncode == 0, answer.stderr
    trials = [record for record in study.records() if record.config["tuning.trial"] is not None]
    winners = [record for record in study.records() if record.config["tuning.trial"] is None]
    assert sorted((r.config["model.cell"], r.config["tuning.trial"]) for r in trials) == [
        ("gru", 0), ("gru", 1), ("lstm", 0), ("lstm", 1)
    ]  # fmt: skip
    assert sorted(str(r.config["tuning.trials"]) for r in winners) == ["1", "1", "2", "2"]
    assert len({r.sweep_name for r in study.records()}) == 1
    report = study.command("report", f"sweep={winners[0].sweep_name}", "protocol.uncommitted=allow")
    assert report.returncode == 0, report.stderr
    page = (study.results / "reports" / str(winners[0].sweep_name) / "report.md").read_text()
    assert "Tuning budget" in page
