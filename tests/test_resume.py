"""A run that was cut off goes on from its last finished epoch and ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pytorch_lightning.loggers import Logger

import bench
from bench.compose import compose
from bench.runs.checkpoint import open_saved, read
from bench.runs.claim import claim
from bench.runs.execute import execute
from bench.runs.failure import Interrupted
from bench.runs.folders import CHECKPOINT
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.lease import EXECUTION
from bench.runs.record import RunRecord, Status
from bench.runs.store import CURVE, PREDICTIONS, RECORD, WEIGHTS, WEIGHTS_LAST, Store
from tests.conftest import Study

SPEEDS = ("train_seconds", "step_milliseconds_p50", "samples_per_second", "tokens_per_second", "validation_curve")
# All that has a state: dropout, schedule, early stopping, and a row of the curve that an epoch's end does not complete.
RICH = ("model.dropout=0.4", "model.num_layers=2", "training.schedule=linear", "training.warmup_fraction=0.1",
        "training.epochs=60", "training.patience=20", "training.log_every_steps=7", "keep=all")  # fmt: skip


class Stopper(Logger):
    """A tracker that ends the run in the middle of an epoch."""

    name, version = "stopper", 0

    def __init__(self, epoch: int, error: BaseException) -> None:
        self.epoch = epoch
        self.error = error

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if metrics["epoch"] == self.epoch:
            raise self.error

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Of no interest."""


@dataclass
class Stopping:
    """Trackers with nothing but a stopper."""

    loggers: Sequence[Logger]

    def finish(self, record: RunRecord) -> str | None:
        return None


def cut_off(study: Study, epoch: int, *more: str, error: BaseException | None = None) -> RunRecord:
    """A run that ends at a step in the middle of an epoch (counted from 1)."""
    resolved, store = resolve(compose(study.overrides("training.log_every_steps=5", *more))), Store(study.results)
    store.prepare()

    def open_stopper(resolved: ResolvedRun) -> Stopping:
        return Stopping([Stopper(epoch, error or Interrupted("the test"))])

    with claim(store, resolved.run_id) as claimed:
        return execute(resolved, store, claimed, open_stopper)


def go_on(study: Study, *more: str) -> RunRecord:
    return bench.run(study.overrides("training.log_every_steps=5", *more))


def folder_of(results: Path, record: RunRecord) -> Path:
    return Store(results).folder(record.run_id, record.execution_id)


def checkpoints(study: Study) -> list[Path]:
    return sorted(study.results.glob(f"runs/*/*/{CHECKPOINT}"))


def curve_of(results: Path, record: RunRecord) -> pd.DataFrame:
    return pd.read_parquet(folder_of(results, record) / CURVE)


def started(study: Study, *overrides: str, by: str | None = None) -> subprocess.Popen[str]:
    """A run in a process of its own. by: Python code that starts it, as `start`."""
    words = [sys.executable, "-m", "bench", *study.overrides(*overrides)]
    if by is not None:
        words = [sys.executable, "-c", f"import subprocess, time\nstart = {words!r}\n{by}"]
    return subprocess.Popen(words, cwd=study.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for something while a process runs."""
    end = time.monotonic() + 180
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def has_finished(study: Study, epochs: int) -> Callable[[], bool]:
    return lambda: any(open_saved(path).epochs >= epochs for path in checkpoints(study))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, RunRecord]:
    """A study whose dev split has wrong labels, so that the best epoch comes early, and an unbroken run of it."""
    study = Study(tmp_path_factory.mktemp("unbroken"))
    study.write_corpus()
    path = study.data / "dev.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[::4]:
        row["label"] = {"sport": "money", "money": "music", "music": "sport"}[row["label"]]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return study, bench.run(study.overrides(*RICH))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_or_killed_ends_as_an_unbroken_one(
    unbroken: tuple[Study, RunRecord], tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = unbroken
    assert whole.stop_reason == "patience"
    assert whole.best_epoch is not None
    place = f"results={tmp_path}/results"
    broken = Study(tmp_path)
    process = started(study, *RICH, place)
    wait_until(has_finished(broken, epochs=whole.best_epoch), process)
    process.send_signal(number)
    process.communicate()
    (left,) = checkpoints(broken)
    records = list(broken.results.rglob(RECORD))
    if number == signal.SIGTERM:
        assert process.returncode == 130
        assert json.loads(records[0].read_text())["status"] == "interrupted"
    else:
        assert process.returncode == -signal.SIGKILL
        assert records == []
        monkeypatch.setenv(EXECUTION, left.parent.name)  # as a job that is put back into its queue
    epochs = open_saved(left).epochs
    assert epochs < whole.best_epoch + 20, "it came to its end before it was stopped"

    again = bench.run(study.overrides(*RICH, place))
    assert (again.resumed_from, again.resumed_epochs) == (left.parent.name, epochs)
    assert (again.execution_id == left.parent.name) == (number == signal.SIGKILL)
    files = (folder_of(study.results, whole), folder_of(broken.results, again))
    for name in (WEIGHTS, WEIGHTS_LAST, PREDICTIONS):
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes(), name
    pd.testing.assert_frame_equal(
        *(curve_of(*of).drop(columns="train_seconds") for of in ((study.results, whole), (broken.results, again))),
        check_exact=True,
    )
    for name in (
        "best_epoch",
        "epochs_run",
        "steps",
        "stop_reason",
        "test_log_loss",
        "test_correct",
        "padding_fraction",
    ):
        assert getattr(again, name) == getattr(whole, name), name
    assert checkpoints(broken) == []
    assert [path.name for path in (broken.results / "runs" / again.run_id).iterdir() if not path.is_dir()] == []


def test_each_interruption_takes_the_run_further(study: Study) -> None:
    whole = bench.run(
        study.overrides("training.epochs=6", "training.log_every_steps=5", f"results={study.folder}/whole")
    )
    first = cut_off(study, 3, "training.epochs=6")
    second = cut_off(study, 5, "training.epochs=6")
    assert (first.resumed_epochs, first.status) == (None, Status.INTERRUPTED)
    assert (second.resumed_from, second.resumed_epochs, second.status) == (first.execution_id, 2, Status.INTERRUPTED)
    third = go_on(study, "training.epochs=6")
    assert (third.resumed_from, third.resumed_epochs) == (second.execution_id, 4)
    assert third.test_log_loss == whole.test_log_loss
    assert (third.epochs_run, third.steps) == (6, whole.steps)


def test_a_run_says_from_where_it_goes_on(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    first = cut_off(study, 2)
    go_on(study)
    assert f"goes on after epoch 1 of execution {first.execution_id}" in capsys.readouterr().out.splitlines()


def test_a_failed_run_goes_on_too(study: Study) -> None:
    first = cut_off(study, 3, error=RuntimeError("a disk went away"))
    assert (first.status, first.error_type) == (Status.FAILED, "RuntimeError")
    assert go_on(study).resumed_from == first.execution_id


def test_a_checkpoint_holds_tensors_and_numbers_and_nothing_that_could_be_run(study: Study) -> None:
    cut_off(study, 3)
    (path,) = checkpoints(study)
    tree = read(path)
    assert {"state_dict", "optimizer_states", "loops", "callbacks"} <= set(tree)
    assert {"Selection", "LearningCurve", "TrainingClock", "Checkpoints"} <= set(tree["callbacks"])

    def kinds(value: object) -> set[type]:
        inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
        return {type(value)}.union(*(kinds(item) for item in inside))

    assert {kind.__name__ for kind in kinds(tree)} <= {
        "dict", "OrderedDict", "list", "tuple", "Tensor", "int", "float", "str", "bool", "NoneType",
    }  # fmt: skip


def test_what_cannot_be_read_is_skipped_with_one_warning(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(study, 3)
    (path,) = checkpoints(study)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    record = go_on(study)
    assert (record.status, record.resumed_from) == (Status.FINISHED, None)
    (message,) = [message for message in caplog.messages if "checkpoint" in message]
    assert message.startswith(f"skipped checkpoint {path}: it cannot be read, ")
    assert "\n" not in message
    assert checkpoints(study) == []


def test_a_checkpoint_that_would_run_code_is_not_read(study: Study) -> None:
    run_id = resolve(compose(study.overrides("training.log_every_steps=5"))).run_id
    path = Store(study.results).folder(run_id, "20260101T000000-aaaaaa") / CHECKPOINT
    path.parent.mkdir(parents=True)
    torch.save({"callbacks": {"Checkpoints": Path("imported")}}, path)
    with pytest.raises(ValueError, match="it cannot be read"):
        open_saved(path)
    assert go_on(study).resumed_from is None


def test_a_checkpoint_of_another_run_is_not_taken(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(study, 3, "seed=1")
    (path,) = checkpoints(study)
    run_id = resolve(compose(study.overrides("training.log_every_steps=5"))).run_id
    copied = path.parents[1].rename(study.results / "runs" / run_id) / path.parent.name
    (copied / RECORD).unlink()
    assert go_on(study).resumed_from is None
    assert "copied to another folder" in caplog.text


def test_force_starts_afresh(study: Study) -> None:
    cut_off(study, 3)
    assert go_on(study, "force=true").resumed_from is None
    assert checkpoints(study) == []
    cut_off(study, 3, "force=true")
    assert checkpoints(study) == [], "of a run that is finished, no execution will ever go on"


def test_a_diverged_run_leaves_no_checkpoint(study: Study) -> None:
    wild = ("training.learning_rate=1e38", "training.optimizer=sgd", "training.gradient_clip=null")
    run_id = resolve(compose(study.overrides("training.log_every_steps=5", *wild))).run_id
    path = Store(study.results).folder(run_id, "20260101T000000-aaaaaa") / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert go_on(study, *wild).status is Status.DIVERGED
    assert not path.parent.exists()


def test_a_disk_that_refuses_costs_the_checkpoint_and_not_the_run(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    resolved, store = resolve(compose(study.overrides())), Store(study.results)
    store.prepare()
    with claim(store, resolved.run_id) as claimed:
        path = store.folder(resolved.run_id, claimed.execution_id) / CHECKPOINT
        path.mkdir(parents=True)  # nothing can be moved into this place
        record = execute(resolved, store, claimed)
    assert record.status is Status.FINISHED
    assert len([message for message in caplog.messages if message.startswith("no checkpoint, so an inter")]) == 1


def test_the_first_steps_of_each_part_are_warm_up(study: Study) -> None:
    cut_off(study, 2, "training.batch_size=1", "training.epochs=2")  # 90 steps an epoch
    record = go_on(study, "training.batch_size=1", "training.epochs=2")
    assert (record.steps, record.warmup_steps) == (180, 10)
    curve = curve_of(study.results, record)
    validation = curve[curve.split == "validation"]
    assert list(validation.step) == [90, 180]
    first, whole = validation.train_seconds
    assert 0 < first < whole
    assert whole == pytest.approx(record.train_seconds), "both parts count"
    assert record.wall_seconds is not None


def test_one_clock_read_on_two_kinds_of_hardware_says_nothing(study: Study) -> None:
    cut_off(study, 3)
    record = go_on(study, "hardware.threads=2")
    assert (record.status, record.resumed_epochs, record.steps) == (Status.FINISHED, 2, 36)
    assert [name for name in SPEEDS if getattr(record, name) is not None] == []
    assert record.test_accuracy is not None
    assert record.inference_milliseconds_p50 is not None, "measured here alone"
    assert curve_of(study.results, record).train_seconds.isna().all()


def test_a_limit_on_time_counts_both_parts(study: Study) -> None:
    endless = ("training.epochs=1000", "training.patience=null", "training.max_seconds=500")
    cut_off(study, 3, *endless)
    (path,) = checkpoints(study)
    tree = read(path)
    assert 0 < tree["callbacks"]["TrainingClock"]["seconds"] < 100
    tree["callbacks"]["TrainingClock"]["seconds"] = 500 - 1e-6
    torch.save(tree, path)
    record = go_on(study, *endless)
    assert (record.stop_reason, record.resumed_epochs, record.steps) == ("max_seconds", 2, 25)


def test_trackers_receive_the_whole_curve(study: Study) -> None:
    cut_off(study, 3)
    record = go_on(study, "logger=csv")
    (path,) = study.results.glob("csv/**/metrics.csv")
    logged = pd.read_csv(path)
    curve = curve_of(study.results, record)
    assert list(logged.step) == sorted(curve.step)
    assert list(logged["validation/accuracy"].dropna()) == list(curve.accuracy.dropna())
    assert len(curve.accuracy.dropna()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_member_ends_with_its_sweep_and_keeps_its_checkpoint(study: Study) -> None:
    endless = ("training.epochs=100000", "training.patience=null", "sweep.member=true")
    parent = started(study, *endless, by="subprocess.Popen(start)\ntime.sleep(600)")
    wait_until(has_finished(study, epochs=1), parent)
    parent.kill()
    parent.communicate()  # returns when the member has closed what it shares with its parent: it has ended
    (path,) = study.results.rglob(RECORD)
    record = json.loads(path.read_text())
    assert (record["status"], record["error_message"]) == ("interrupted", "stopped by SIGTERM")
    assert [checkpoint.parent for checkpoint in checkpoints(study)] == [path.parent]


def test_two_processes_go_on_together_where_they_were_killed(study: Study) -> None:
    options = ("model.dropout=0", "training.batch_size=9", "training.epochs=4", "training.schedule=linear")
    alone = bench.run(study.overrides(*options, f"results={study.folder}/alone"))
    two = (*options, "hardware=ddp", "hardware.accelerator=cpu")
    process = started(study, *two)
    wait_until(has_finished(study, epochs=2), process)
    process.kill()
    process.communicate()  # the second process has ended as well
    (left,) = checkpoints(study)
    process = started(study, *two)
    assert process.communicate()[1] == ""
    together = json.loads(next(study.results.rglob(RECORD)).read_text())
    assert (together["status"], together["devices"], together["resumed_from"]) == ("finished", 2, left.parent.name)
    assert together["steps"] == alone.steps
    assert together["test_log_loss"] == pytest.approx(alone.test_log_loss, abs=1e-4)
    counted = together["tokens_per_second"] * together["train_seconds"]
    assert together["warmup_steps"] == 0
    assert counted == pytest.approx(4 * together["train_tokens"]), "each process has counted its own, once"
