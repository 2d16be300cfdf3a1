"""W&B, CSV and TensorBoard receive what the record says, and nothing private."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config import WandbConfig
from bench.tracking import confusion_html, wandb_mode
from tests.conftest import Study


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
    leet = Path(sys.executable).with_name("wandb")
    shown = subprocess.run(
        [leet, "leet", "inspect", "--summary", "--json", str(folder)], capture_output=True, text=True, check=True
    )
    run, record = json.loads(shown.stdout), record_of(study)
    assert run["run_id"] == run["config"]["bench_run_id"] == record["run_id"]
    for field in ("test_accuracy", "test_macro_f1", "samples_per_second", "parameters_total", "best_epoch"):
        assert run["summary"][field] == pytest.approx(record[field]), field
    assert run["summary"]["validation/accuracy"] > 0
    (file,) = folder.glob("*.wandb")
    content = file.read_bytes()
    for wanted in (record["arm"], "a_question", "test_confusion", "train/loss"):
        assert str(wanted).encode() in content
    private = [home.name, str(Path(__file__).parents[1]), os.uname().nodename]
    assert [name for name in private if len(name) > 4 and name.encode() in content] == []


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
