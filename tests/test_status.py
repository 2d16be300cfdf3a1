"""`status` counts every run once, by what has become of it, and shows what is being carried out. Real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import bench
from bench.errors import UserError
from bench.runs.assemble import record_without_fit
from bench.runs.folders import CHECKPOINT, RECORD
from bench.runs.record import RunRecord, Status
from bench.runs.store import Store
from bench.sweeps.plan import Member, Plan
from bench.sweeps.stages import settle_time_limits
from bench.verbs.status import status
from tests.conftest import Study
from tests.test_sweeper import ENDLESS, plan_of

HOLD = """
import sys
from pathlib import Path
from bench.runs.lease import Lease, Progress
lease = Lease.acquire(Path(sys.argv[1]), "20261122T000000-abcdef")
lease.report(Progress(epoch=3, epochs=8, step=30, steps=80, seconds_left=40.0, accuracy=0.75))
while "accuracy\\": 0.75" not in lease.path.read_text():
    pass
print("held", flush=True)
sys.stdin.read()
"""
KILLED = {"error_type": "Killed", "error_message": "killed by SIGKILL"}


def ended(study: Study, member: Member, ending: Status, later: int = 0, **fields: object) -> RunRecord:
    """Write a record of a planned run, as one who could not train it. later: seconds, to be a later execution."""
    started_at = datetime.now(UTC) + timedelta(seconds=later)
    record = record_without_fit(member, started_at, {"status": ending, **fields})
    Store(study.results).write(record)
    return record


@contextmanager
def held(study: Study, member: Member) -> Iterator[subprocess.Popen[str]]:
    """A living process that carries out a run, in its third epoch."""
    command = [sys.executable, "-c", HOLD, str(study.results / "runs" / member.run_id)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def cut_off(study: Study, member: Member) -> None:
    """What is left of a run whose process was killed after its first epoch."""
    folder = study.results / "runs" / member.run_id / "20261122T000000-cccccc"
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes(b"weights")


@pytest.fixture
def shown(study: Study, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def show(*arguments: str) -> str:
        capsys.readouterr()
        assert status([*arguments, f"results={study.results}"]) == 0
        return capsys.readouterr().out

    return show


@pytest.fixture
def told(shown: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    """The questions of the JSON document."""

    def tell(*arguments: str) -> list[dict[str, Any]]:
        document = json.loads(shown("--json", *arguments))
        assert document["schema_version"] == 1
        questions: list[dict[str, Any]] = document["questions"]
        return questions

    return tell


def planned(study: Study, *arguments: str, name: str = "asked", trials: bool = False) -> Plan:
    plan = plan_of(study, *arguments, name=name)
    plan.write(Store(study.results), trials=trials)
    return plan


def counts(question: dict[str, Any]) -> dict[str, int]:
    """Those that are not zero."""
    return {name: count for name, count in question["counts"].items() if count}


# -- what has become of every run ----------------------------------------------------------------------------------


def test_every_run_is_counted_once_by_what_has_become_of_it(study: Study, told: Callable[..., Any]) -> None:
    plan = planned(study, "model=gru,lstm", "seed=range(4)")
    first, second, third, fourth, fifth, sixth, *_ = plan.members
    assert bench.run(list(first.overrides)).run_id == first.run_id
    ended(study, second, Status.FAILED, **KILLED)
    ended(study, third, Status.FAILED, **KILLED)
    ended(study, fourth, Status.DIVERGED, error_type="DivergedError", error_message="loss is nan")
    cut_off(study, fifth)
    with held(study, sixth):
        question = told("sweep=asked")[0]
    assert counts(question) == {
        "finished": 1, "running": 1, "failed": 2, "diverged": 1, "interrupted": 1, "missing": 2,
    }  # fmt: skip
    assert question["runs"] == len(plan.members) == 8
    assert [failure["run_id"] for failure in question["failed"]] == [second.run_id, third.run_id]
    assert question["failed"][0]["error_message"] == "killed by SIGKILL"
    assert [failure["run_id"] for failure in question["diverged"]] == [fourth.run_id]
    assert question["interrupted"] == [{"run_id": fifth.run_id, "has_checkpoint": True}]
    assert [run["run_id"] for run in question["running"]] == [sixth.run_id]
    assert {cell["label"]: cell["runs"] for cell in question["cells"]} == {"model=gru": 4, "model=lstm": 4}
    assert sum(cell["counts"]["failed"] for cell in question["cells"]) == 2


def test_the_latest_execution_decides_but_what_has_finished_stays_finished(
    study: Study, told: Callable[..., Any]
) -> None:
    again, done = planned(study, "seed=0,1").members
    ended(study, again, Status.INTERRUPTED, later=60, **KILLED)
    ended(study, again, Status.FAILED, **KILLED)
    ended(study, done, Status.FINISHED)
    ended(study, done, Status.FAILED, later=60, **KILLED)
    assert counts(told("sweep=asked")[0]) == {"finished": 1, "interrupted": 1}
    with held(study, done), held(study, again):
        assert counts(told("sweep=asked")[0]) == {"finished": 1, "running": 1}


def test_a_killed_holder_leaves_a_missing_run_and_with_a_checkpoint_an_interrupted_one(
    study: Study, told: Callable[..., Any]
) -> None:
    bare, saved = planned(study, "seed=0,1").members
    with held(study, bare), held(study, saved):
        cut_off(study, saved)
        assert counts(told("sweep=asked")[0]) == {"running": 2}
    assert counts(told("sweep=asked")[0]) == {"missing": 1, "interrupted": 1}


def test_a_run_that_ends_while_we_look_is_not_missed(study: Study) -> None:
    from bench.sweeps.status.state import Snapshot, State

    member = planned(study, "seed=0").members[0]
    with held(study, member):
        snapshot = Snapshot(Store(study.results))
    ended(study, member, Status.FINISHED)
    assert snapshot.state_of(member.run_id).state is State.FINISHED


def test_a_damaged_record_is_warned_of_once_and_its_run_is_missing(
    study: Study, told: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, damaged = planned(study, "seed=0,1").members
    ended(study, whole, Status.FINISHED)
    broken = ended(study, damaged, Status.FINISHED)
    path = study.results / "runs" / broken.run_id / broken.execution_id / RECORD
    path.write_text(path.read_text()[:300])
    assert status([f"results={study.results}", "--json"]) == 0
    assert capsys.readouterr().err.count(str(path)) == 1
    assert counts(told()[0]) == {"finished": 1, "missing": 1}


# -- what belongs to which question --------------------------------------------------------------------------------


def test_without_a_name_every_question_has_a_row_and_the_rest_has_one_too(
    study: Study, told: Callable[..., Any], shown: Callable[..., str]
) -> None:
    planned(study, "seed=0,1,2", name="first")
    shared = planned(study, "seed=0", name="second").members[0]
    ended(study, shared, Status.FINISHED)
    ended(study, plan_of(study, "seed=77").members[0], Status.FAILED, **KILLED)
    assert [(question["name"], counts(question)) for question in told()] == [
        ("first", {"finished": 1, "missing": 2}),
        ("second", {"finished": 1}),
        (None, {"failed": 1}),
    ]
    assert "runs of no question" in shown()


def test_trials_of_a_tuning_stand_on_a_line_of_their_own(
    study: Study, told: Callable[..., Any], shown: Callable[..., str]
) -> None:
    trials = planned(study, "seed=1000", "training.learning_rate=0.01,0.02,0.03", name="tuned", trials=True).members
    ended(study, trials[0], Status.FINISHED)
    (alone,) = told()
    assert (alone["name"], alone["runs"], counts(alone["trials"])) == ("tuned", 0, {"finished": 1, "missing": 2})
    ended(study, trials[1], Status.FAILED, **KILLED)
    winner = planned(study, "seed=0,1", "training.learning_rate=0.01", name="tuned").members
    ended(study, winner[0], Status.FINISHED)
    (question,) = told("sweep=tuned")
    assert (counts(question), counts(question["trials"])) == (
        {"finished": 1, "missing": 1},
        {"finished": 1, "failed": 1, "missing": 1},
    )
    assert [failure["run_id"] for failure in question["failed"]] == [trials[1].run_id]
    assert "trials of the tuning" in shown("sweep=tuned")


def test_runs_at_equal_wall_clock_wait_until_they_have_a_name(study: Study, told: Callable[..., Any]) -> None:
    typed = ("model=gru,lstm", "model.match=width,time", "seed=0,1")
    first = planned(study, *typed)
    assert counts(told("sweep=asked")[0]) == {"missing": 4, "waiting": 4}
    assert [cell["runs"] for cell in told("sweep=asked")[0]["cells"]] == [2, 2, 2, 2]
    for member in first.members:
        ended(study, member, Status.FINISHED, train_seconds=3.0, hardware_key="one")
    assert settle_time_limits(first, Store(study.results)) == {}
    planned(study, *typed)
    question = told("sweep=asked")[0]
    assert counts(question) == {"finished": 4, "missing": 4}
    assert [cell["runs"] for cell in question["cells"]] == [2, 2, 2, 2]


def test_a_run_that_answers_two_matchings_counts_once_in_all_and_in_both_cells(
    study: Study, told: Callable[..., Any]
) -> None:
    planned(study, "model=gru,lstm", "model.match=width,parameters", name="both")
    (question,) = told("sweep=both")
    assert question["runs"] == 3
    assert [cell["runs"] for cell in question["cells"]] == [1, 1, 1, 1]


def test_a_later_plan_replaces_what_code_or_corpus_have_changed(study: Study, told: Callable[..., Any]) -> None:
    old = planned(study, "seed=0,1,2")
    ended(study, old.members[0], Status.FINISHED)
    study.write_corpus(texts=93)
    new = planned(study, "seed=0,1")
    assert {member.run_id for member in new.members}.isdisjoint(member.run_id for member in old.members)
    (question,) = told("sweep=asked")
    assert (counts(question), question["replaced"]) == ({"missing": 3}, 2)


# -- what is being carried out -------------------------------------------------------------------------------------


def test_progress_of_a_real_run_is_seen_while_it_runs(
    study: Study, told: Callable[..., Any], shown: Callable[..., str]
) -> None:
    (member,) = planned(study, "seed=3", *ENDLESS).members
    command = [sys.executable, "-m", "bench", *member.overrides]

    def progressing() -> list[Any]:
        assert process.poll() is None, "the run ended on its own"
        return [run for run in told("sweep=asked")[0]["running"] if run["progress"]]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            seen = wait_for(progressing)
            table = shown("sweep=asked")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert seen[0]["run_id"] == member.run_id
    assert seen[0]["place"] == f"this machine, process {process.pid}"
    assert seen[0]["progress"]["epochs"] == 100_000
    assert seen[0]["progress"]["epoch"] >= 1
    assert "/100000" in table
    assert counts(told("sweep=asked")[0]) == {"interrupted": 1}


def test_a_holder_is_shown_with_epoch_accuracy_place_and_time_left(study: Study, shown: Callable[..., str]) -> None:
    member = planned(study, "model=gru,lstm").members[1]
    with held(study, member) as process:
        table = " ".join(shown().split())
    for fact in ("3/8", "75.0%", "40 s", "model=lstm", f"process {process.pid}"):
        assert fact in table


# -- how it is shown -----------------------------------------------------------------------------------------------


def test_failures_are_shown_by_reason_with_an_example(study: Study, shown: Callable[..., str]) -> None:
    members = planned(study, "seed=range(4)").members
    for member in members[:3]:
        ended(study, member, Status.FAILED, **KILLED)
    ended(study, members[3], Status.FAILED, error_type="TimedOut", error_message="ended after 5 s")
    text = shown("sweep=asked")
    assert f"3 failed, Killed: killed by SIGKILL [such as run {members[0].run_id} (seed=0)]" in text
    assert f"1 failed, TimedOut: ended after 5 s [run {members[3].run_id} (seed=3)]" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sweep=aksed"], "did you mean 'asked'?"),
        (["sweep"], "sweep needs a value"),
        (["--whatch"], "did you mean '--watch'?"),
        (["--watch", "--json"], "leave one out"),
        (["results=nowhere"], "no results folder at nowhere"),
    ],
)
def test_what_cannot_be_answered_is_one_line(study: Study, arguments: list[str], complaint: str) -> None:
    planned(study, "seed=0")
    given = arguments if any(a.startswith("results=") for a in arguments) else [*arguments, f"results={study.results}"]
    done = study.command("status", *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench: ")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_results_folder_without_runs_says_how_to_make_one(study: Study) -> None:
    study.results.mkdir()
    with pytest.raises(UserError, match="`python -m bench` makes one"):
        status([f"results={study.results}"])


def test_watching_shows_what_changes_and_ctrl_c_leaves_quietly(study: Study) -> None:
    member = planned(study, "seed=0").members[0]
    command = [sys.executable, "-m", "bench", "status", "--watch", f"results={study.results}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("missing" in line for line in process.stdout)
        ended(study, member, Status.FINISHED)
        assert any("finished" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_in_a_terminal_the_table_is_kept_in_its_place(study: Study) -> None:
    member = planned(study, "seed=0").members[0]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bench", "status", "--watch", f"results={study.results}"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        screen = read_until(ours, b"missing")
        ended(study, member, Status.FINISHED)
        screen += read_until(ours, b"finished")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    os.close(ours)
    assert b"\x1b[1A" in screen, "the cursor goes back up"


def test_it_needs_neither_torch_nor_pandas_nor_hydra(study: Study) -> None:
    ended(study, planned(study, "seed=0,1").members[0], Status.FINISHED)
    heavy = {"torch", "pandas", "hydra", "omegaconf", "pytorch_lightning", "wandb", "scipy", "datasets"}
    code = f"import sys; from bench.verbs.status import status; status(sys.argv[1:]); print({heavy} & set(sys.modules))"
    for flags in ([], ["--json"], ["sweep=asked"]):
        done = subprocess.run(
            [sys.executable, "-c", code, f"results={study.results}", *flags], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()"
        assert "missing" in done.stdout


def wait_for(look: Callable[[], list[Any]], seconds: float = 120) -> list[Any]:
    until = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)
    return seen


def read_until(terminal: int, word: bytes) -> bytes:
    """What a terminal shows until this word has appeared."""
    screen = b""
    while word not in screen:
        screen += os.read(terminal, 4096)
    return screen
