"""W&B, CSV and TensorBoard receive what the record says, and nothing private."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config import WandbConfig
from bench.runs.store import Store
from bench.tracking.description import describe_record
from bench.tracking.uploads import sync_command, wandb_folders
from bench.tracking.wandb_run import confusion_html, wandb_mode
from tests.conftest import Study
from tests.wandb_files import WANDB, rows_of, summary_of
from tests.wandb_server import WandbServer


def record_of(study: Study) -> dict[str, object]:
    (path,) = study.results.glob("runs/*/*/record.json")
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_an_offline_run_shows_what_the_record_says(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    home = study.folder / "home-of-somebody"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    done = study.command(*study.overrides("logger=wandb", "sweep.name=a_question"))
    assert done.returncode == 0, done.stderr
    (folder,) = (study.results / "wandb").glob("offline-run-*")
    assert f"wandb sync {study.results / 'wandb' / folder.name}" in done.stdout
    run, record = summary_of(folder), record_of(study)
    assert run["run_id"] == run["config"]["bench_run_id"] == record["run_id"]
    for field in ("test_accuracy", "test_macro_f1", "samples_per_second", "parameters_total", "best_epoch"):
        assert run["summary"][field] == pytest.approx(record[field]), field
    assert run["summary"]["validation/accuracy"] > 0
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    for wanted in (record["arm"], "a_question", "test_confusion", "train/loss"):
        assert str(wanted).encode() in content
    private = [home.name, str(study.folder), str(Path(__file__).parents[1]), os.uname().nodename]
    assert [name for name in private if len(name) > 4 and name.encode() in content] == []


def test_the_steps_of_wandb_are_optimiser_steps(study: Study) -> None:
    assert study.command(*study.overrides("logger=wandb")).returncode == 0
    (folder,) = (study.results / "wandb").glob("offline-run-*")
    rows = rows_of(folder)
    assert [row["trainer/global_step"] for row in rows if "validation/accuracy" in row] == [12, 24, 36]
    assert [row["trainer/global_step"] for row in rows if "train/loss" in row] == [10, 20, 30]
    (best,) = study.results.glob("runs/*/*/record.json")
    assert max(row.get("validation/accuracy", 0) for row in rows) == pytest.approx(
        json.loads(best.read_text())["validation_accuracy"]
    )


# A run that was interrupted after step 20, and one that goes on from there and sends the earlier rows once more.
RESUMED = """
import sys
from dataclasses import replace
from pathlib import Path
from bench.config import WandbConfig
from bench.tracking.description import Description
from bench.tracking.wandb_run import begin, log_row

description = Description(run_id=sys.argv[1], name="a run", group="an arm", job_type="a sweep", tags=("gru",))
for steps in ((10, 20), (10, 20, 30)):
    run = begin(description, Path("results"), WandbConfig())
    for step in steps:
        log_row(run, {"train/loss": 1 / step}, step)
        log_row(run, {"validation/accuracy": step / 100}, step)
    run.finish()
"""


def script(study: Study, code: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=study.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def sync(command: str, study: Study, server: WandbServer) -> str:
    """Type a `wandb sync`, logged in at a server."""
    environment = {**os.environ, **server.environment, "PATH": f"{WANDB.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=study.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_rows_that_a_resumed_run_sends_again_are_not_doubled_offline(study: Study) -> None:
    script(study, RESUMED, "resumed")
    first, second = wandb_folders(study.results)
    assert (first.waiting, second.waiting) == (False, True)
    with WandbServer() as server:
        sync("wandb sync results/wandb", study, server)
    run = server.runs["resumed"]
    assert [(row["_step"], row["trainer/global_step"], row["validation/accuracy"]) for row in run.rows] == [
        (10, 10, 0.1), (20, 20, 0.2), (30, 30, 0.3),
    ]  # fmt: skip
    assert (run.group, run.job_type, run.tags, run.ended) == ("an arm", "a sweep", ["gru"], True)


def test_rows_that_a_resumed_run_sends_again_are_not_doubled_online(study: Study) -> None:
    with WandbServer() as server:
        script(study, RESUMED, "resumed", **server.environment)
    assert [(row["_step"], row["validation/accuracy"]) for row in server.runs["resumed"].rows] == [
        (10, 0.1), (20, 0.2), (30, 0.3),
    ]  # fmt: skip


def test_a_server_that_fails_stops_no_run(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer(refuses_runs=True) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        done = study.command(*study.overrides("logger=wandb"))
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr
    (folder,) = (study.results / "wandb").glob("offline-run-*")
    assert summary_of(folder)["summary"]["test_accuracy"] == pytest.approx(record_of(study)["test_accuracy"])


def test_one_command_uploads_every_offline_run_of_a_sweep(study: Study) -> None:
    done = study.command("-m", *study.overrides("model=gru,lstm", "logger=wandb", "sweep.name=question"))
    assert done.returncode == 0, done.stderr
    runs = {path.name: Store(study.results).executions(path.name)[0] for path in (study.results / "runs").iterdir()}
    command = sync_command(study.results, runs)
    assert command == f"wandb sync {study.results / 'wandb'}"
    assert sync_command(study.results, ["another"]) is None
    with WandbServer() as server:
        assert "Syncing 2 run(s)" in sync(command, study, server)
    assert set(server.runs) == set(runs)
    for run_id, record in runs.items():
        served = server.runs[run_id]
        assert (served.group, served.job_type, served.ended) == (record.arm, "question", True)
        assert served.summary["test_accuracy"] == pytest.approx(record.test_accuracy)
        assert str(study.folder) not in served.said
    assert sync_command(study.results, runs) is None


def test_trials_of_a_tuning_can_be_told_from_what_is_compared(study: Study) -> None:
    assert study.command(*study.overrides("sweep.name=question")).returncode == 0
    (path,) = (study.results / "runs").iterdir()
    (record,) = Store(study.results).executions(path.name)
    compared = describe_record(record)
    trial = describe_record(replace(record, config=record.config | {"tuning.trial": 7}))
    assert (compared.job_type, trial.job_type) == ("question", "question trial")
    assert trial.tags == (*compared.tags, "trial")
    assert trial.name == "gru local random trial 7"


def test_loggers_combine(study: Study) -> None:
    done = study.command(*study.overrides("logger=[csv,tensorboard]"))
    assert done.returncode == 0, done.stderr
    record = record_of(study)
    (metrics,) = study.results.glob("csv/*/version_0/metrics.csv")
    rows = list(csv.DictReader(metrics.open()))
    best = max(float(row["validation/accuracy"]) for row in rows if row["validation/accuracy"])
    assert best == pytest.approx(record["validation_accuracy"])
    assert list(study.results.glob("tensorboard/*/version_0/events.out.tfevents.*"))
    assert not (study.results / "wandb").exists()


def test_no_logger_writes_nothing_beside_the_record(study: Study) -> None:
    assert study.command(*study.overrides("logger=none")).returncode == 0
    assert sorted(path.name for path in study.results.iterdir()) == ["runs"]


def test_wandb_stays_offline_unless_the_person_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    assert wandb_mode(WandbConfig()) == "offline"
    netrc.write_text("machine api.wandb.ai login user password 0123456789\n")
    assert wandb_mode(WandbConfig()) == "online"
    assert wandb_mode(WandbConfig(mode="offline")) == "offline"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode(WandbConfig()) == "offline"
    netrc.unlink()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode(WandbConfig()) == "online"


def test_class_names_stay_text_in_the_confusion_matrix() -> None:
    html = confusion_html([[3, 1], [0, 4]], ["<script>", "b"])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert ">3</td>" in html


def test_tensorboard_that_is_not_installed_is_named(study: Study) -> None:
    hidden = study.folder / "hidden"
    (hidden / "tensorboard").mkdir(parents=True)
    (hidden / "tensorboard" / "__init__.py").write_text("raise ImportError\n")
    environment = {**os.environ, "PYTHONPATH": str(hidden)}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *study.overrides("logger=tensorboard")],
        env=environment, cwd=study.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install tensorboard" in done.stderr
    assert not list(study.results.glob("runs/*"))
    shutil.rmtree(hidden)
