"""`sweeps/wandb/*.yaml` run with `wandb sweep` and `wandb agent` as they are, and their records are found."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from bench.compose import compose
from bench.options import sweep_files
from bench.runs.record import RunRecord
from bench.runs.store import Store
from tests.conftest import ROOT, Study
from tests.wandb_files import WANDB, rows_of, summary_of
from tests.wandb_server import ENTITY, WandbServer

FILES = sorted((ROOT / "sweeps" / "wandb").glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "sweeps" / "wandb" / f"{name}.yaml").read_text(encoding="utf-8")))


def expanded(asked: dict[str, Any], **chosen: object) -> list[str]:
    """What an agent starts for these values, put together by W&B's own functions as `wandb agent` does it."""
    variables = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})
    variables |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [asked["program"]]}
    words: list[str] = []
    for word in map(str, create_sweep_command(copy.deepcopy(asked["command"]))):
        words += variables[word[2:-1]] if word.startswith("${") else [word]
    return words


def choices(asked: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Every combination of the values of a grid; of a range, its two ends."""
    ends = {
        name: entry.get("values") or [entry[key] for key in ("value", "min", "max") if key in entry]
        for name, entry in asked["parameters"].items()
    }
    for values in product(*ends.values()):
        yield dict(zip(ends, values, strict=True))


def agent(study: Study, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a process the way an agent does."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=study.folder, env={**os.environ, "PATH": path, **environment},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def only_record(study: Study) -> RunRecord:
    (path,) = (study.results / "runs").iterdir()
    (record,) = Store(study.results).executions(path.name)
    return record


def test_there_is_a_grid_a_search_and_a_smoke_test() -> None:
    assert {path.stem: read(path.stem)["method"] for path in FILES} == {
        "gru_first": "grid", "smoke": "grid", "tuning": "bayes",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wandb_takes_the_file_as_it_is(study: Study, path: Path) -> None:
    with WandbServer() as server:
        done = agent(study, [str(WANDB), "sweep", str(path)], **server.environment)
    assert done.returncode == 0, done.stderr
    assert f"wandb agent {ENTITY}/bench/sweep001" in done.stderr
    assert server.sweep is not None
    assert yaml.safe_load(server.sweep) == read(path.stem)
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_command_is_the_door_with_keys_that_compose(path: Path) -> None:
    asked = read(path.stem)
    all_choices = list(choices(asked))
    for chosen in (all_choices[0], all_choices[-1]):
        words = expanded(asked, **chosen)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "bench"]
        config = compose(words[4:])
        assert config.model.cell == chosen["model"]
        assert config.seed == chosen["seed"]
        assert config.sweep.name == asked["name"]
        assert config.keep_weights == "none"


def test_the_grid_is_that_of_the_question() -> None:
    question = yaml.safe_load((ROOT / "sweeps" / "gru_first.yaml").read_text(encoding="utf-8"))
    params = question["hydra"]["sweeper"]["params"]
    asked = {name: entry["values"] for name, entry in read("gru_first")["parameters"].items()}
    assert asked.pop("seed") == list(range(5))
    assert params.pop("seed") == "range(5)"
    assert asked.pop("model.match") == ["width", "parameters"]
    assert params.pop("model.match") == "width,parameters,time"
    assert {name: ",".join(values) for name, values in asked.items()} == params
    assert len(list(choices(read("gru_first")))) == 400


def test_the_search_maximises_validation_accuracy_stops_early_and_never_reads_the_test_split() -> None:
    asked = read("tuning")
    assert asked["metric"] == {"name": "validation/accuracy", "goal": "maximize"}
    assert asked["early_terminate"]["type"] == "hyperband"
    first, *_, last = choices(asked)
    for chosen in (first, last):
        config = compose(expanded(asked, **chosen)[4:])
        assert not config.data.use_test
        assert config.training.learning_rate == chosen["training.learning_rate"]
        assert config.model.dropout == chosen["model.dropout"]
        assert config.training.batch_size == chosen["training.batch_size"]


def test_questions_for_wandb_are_no_questions_for_the_sweeper() -> None:
    assert "tuning" not in sweep_files()
    assert sweep_files()["gru_first"].resolve() == ROOT / "sweeps" / "gru_first.yaml"


def test_an_agent_runs_the_smoke_test_and_its_record_is_found(study: Study) -> None:
    """Real commands all the way: `wandb sweep`, `wandb agent`, and the process that the agent starts."""
    with WandbServer() as server:
        made = agent(study, [str(WANDB), "sweep", str(ROOT / "sweeps/wandb/smoke.yaml")], **server.environment)
        assert made.returncode == 0, made.stderr
        done = agent(study, [str(WANDB), "agent", "--count", "1", f"{ENTITY}/bench/sweep001"], **server.environment)
    assert done.returncode == 0, done.stderr
    record, run = only_record(study), server.runs["agent000"]
    assert (record.status, record.sweep_name, record.config["model.cell"]) == ("finished", "smoke", "rnn")
    assert list(server.runs) == ["agent000"]
    assert (run.sweep, run.project, run.group, run.job_type) == ("sweep001", "bench", record.arm, "smoke")
    assert run.config["bench_run_id"] == record.run_id
    assert (run.config["model"], run.config["model.cell"]) == ("rnn", "rnn")
    assert run.summary["test_accuracy"] == pytest.approx(record.test_accuracy)
    assert any("validation/accuracy" in row for row in run.rows)
    assert run.ended


def test_what_was_finished_before_is_mirrored_into_the_run_that_an_agent_asks_for(study: Study) -> None:
    overrides = study.overrides("model=gru", "logger=wandb", "sweep.name=smoke")
    tracked = study.command(*overrides)
    assert tracked.returncode == 0, tracked.stderr
    record = only_record(study)
    assert "is finished already" in study.command(*overrides).stdout
    (ours,) = (study.results / "wandb").glob("offline-run-*")  # without an agent nothing is sent again
    done = agent(study, ["python", "-m", "bench", *overrides], WANDB_SWEEP_ID="sweep001", WANDB_RUN_ID="agent007")
    assert done.returncode == 0, done.stderr
    assert "is finished already" in done.stdout
    assert only_record(study) == record
    (agents,) = (study.results / "wandb").glob("offline-run-*-agent007")
    shown = summary_of(agents)
    assert shown["run_id"] == "agent007"
    assert shown["config"]["bench_run_id"] == record.run_id
    assert shown["summary"]["test_accuracy"] == pytest.approx(record.test_accuracy)
    assert set(shown["summary"]["test_confusion"]) == {"sport", "money", "music"}
    assert len(rows_of(agents)) > 5
    assert rows_of(agents) == rows_of(ours)
