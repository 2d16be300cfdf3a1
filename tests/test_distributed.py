"""Two processes train one model: no text repeated or lost, exact metrics, one record, and no end without one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

import bench
from bench.runs.folders import RECORD
from bench.runs.store import PREDICTIONS, WEIGHTS
from tests.clocks_of_two import STEPS
from tests.conftest import ROOT, Study
from tests.evaluate_weights import SIZES, evaluate

TWO = ("hardware=ddp", "hardware.devices=2", "hardware.accelerator=cpu")


def records(study: Study) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in study.results.glob(f"runs/*/*/{RECORD}")]


def test_two_processes_train_one_model_and_write_one_of_everything(study: Study) -> None:
    alone = bench.run(study.overrides("model.dropout=0", "training.batch_size=7", f"results={study.folder}/one"))
    done = study.command(
        *study.overrides("model.dropout=0", "training.batch_size=7", *TWO), "logger=[wandb,csv]", "keep=best"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (together,) = records(study)
    assert together["run_id"] == alone.run_id
    assert together["devices"] == 2
    assert together["steps"] == alone.steps == 3 * 13  # 90 texts in batches of 7, over both processes together
    assert together["test_confusion"] == alone.test_confusion
    assert sum(map(sum, together["test_confusion"])) == 30  # type: ignore[call-overload]
    # The same global batches give the same gradients up to the order of additions.
    assert together["test_log_loss"] == pytest.approx(alone.test_log_loss, abs=1e-4)
    assert done.stdout.count("epoch 3/3") == 1
    (execution,) = study.results.glob("runs/*/2*")
    names = sorted(path.name for path in execution.iterdir() if path.is_file())
    assert {RECORD, PREDICTIONS, WEIGHTS, "curve.parquet"} <= set(names)
    assert not [name for name in names if name.startswith(".") or "ckpt" in name]
    assert not list(study.results.glob("runs/*/lease-*"))
    assert len(list(study.folder.rglob("offline-run-*"))) == 1
    assert len(list(study.folder.rglob("metrics.csv"))) == 1


def test_two_processes_evaluate_the_same_weights_as_exactly_as_one(study: Study) -> None:
    trained = bench.run(study.overrides("keep=best", "training.epochs=1"))
    (weights,) = study.results.glob(f"runs/{trained.run_id}/*/{WEIGHTS}")
    alone = evaluate(weights, study.folder, study.overrides())
    assert alone[0].confusion == trained.test_confusion
    out = study.folder / "qualities.json"
    subprocess.run(
        [sys.executable, "-m", "tests.evaluate_weights", str(weights), str(out), *study.overrides(*TWO)],
        cwd=ROOT, check=True, timeout=240,
    )  # fmt: skip
    together = json.loads(out.read_text())
    assert [sum(map(sum, quality["confusion"])) for quality in together] == [30, *SIZES]
    for one, two in zip(map(asdict, alone), together, strict=True):
        assert one.pop("confusion") == two.pop("confusion")
        assert two == pytest.approx(one, abs=1e-6)


def test_the_slowest_process_counts(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.clocks_of_two", seconds],
            cwd=ROOT, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True,
        )
        for rank, seconds in enumerate(["0", "0.5"])
    ]  # fmt: skip
    outputs = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    first, second = map(json.loads, outputs)
    (fast, over_both), (slow, said_by_the_slow) = first["timing"], second["timing"]
    assert fast["train_seconds"] < 0.5 * STEPS <= over_both["train_seconds"]
    assert over_both == said_by_the_slow
    assert over_both["step_milliseconds_p50"] == pytest.approx(slow["step_milliseconds_p50"])
    assert over_both["samples_per_second"] == pytest.approx(2 * slow["samples_per_second"])
    for what, largest in (("contention", ("cpu_steal_fraction", "cpu_wait_fraction")),
                          ("memory", ("peak_host_memory_bytes",))):  # fmt: skip
        (one, both), (other, said_by_the_other) = first[what], second[what]
        assert both == said_by_the_other
        for name in largest:
            assert both[name] == max((value for value in (one[name], other[name]) if value is not None), default=None)


@pytest.mark.parametrize(
    ("reason", "typed"),
    [
        ("max_seconds", ("training.max_seconds=0.3",)),
        ("patience", ("training.patience=1", "training.learning_rate=1e-9")),
    ],
)
def test_all_processes_stop_together(study: Study, reason: str, typed: tuple[str, ...]) -> None:
    done = study.command(*study.overrides("training.epochs=100000", "training.patience=null", *TWO, *typed))
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records(study)
    assert (record["status"], record["stop_reason"], record["devices"]) == ("finished", reason, 2)
    assert sum(map(sum, record["test_confusion"])) == 30  # type: ignore[call-overload]


def test_members_of_a_sweep_may_be_distributed_themselves(study: Study) -> None:
    done = study.command("-m", *study.overrides("model=gru,lstm", *TWO, "training.epochs=1"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = records(study)
    assert sorted(str(record["model.cell"]) for record in found) == ["gru", "lstm"]
    assert [(record["devices"], sum(map(sum, record["test_confusion"]))) for record in found] == [(2, 30)] * 2  # type: ignore[call-overload]


def second_process(parent: int) -> psutil.Process:
    """The process that a distributed run started beside itself."""
    (found,) = (
        child
        for child in psutil.Process(parent).children(recursive=True)
        if "bench.__main__" in child.cmdline() and child.environ().get("LOCAL_RANK") == "1"
    )
    return found


def test_a_run_that_loses_a_process_ends_with_a_record_and_leaves_none_behind(study: Study) -> None:
    endless = study.overrides("training.epochs=100000", "training.patience=null", *TWO)
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "bench", "-m", *endless],
        cwd=study.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as sweep:  # fmt: skip
        assert sweep.stdout is not None
        next(line for line in sweep.stdout if "epoch 2/100000" in line)
        family = psutil.Process(sweep.pid).children(recursive=True)
        second_process(sweep.pid).send_signal(signal.SIGKILL)
        rest = sweep.stdout.read()
    assert sweep.returncode == 1, rest
    (record,) = records(study)
    assert record["status"] == "failed"
    assert record["error_type"] is not None
    assert "1 of 1 did not finish" in rest
    assert psutil.wait_procs(family, timeout=60)[1] == []
