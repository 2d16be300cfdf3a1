"""The door, as a person meets it: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.runs.record import Status
from tests.conftest import Study


def assert_one_line(answer: subprocess.CompletedProcess[str], expected: str) -> None:
    assert answer.returncode == 2
    assert expected in answer.stderr
    assert answer.stderr.startswith("bench: ")
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A folder in which nothing is trained."""
    return Study(tmp_path_factory.mktemp("door"))


def test_help_lists_verbs_groups_and_options_without_composing(door: Study) -> None:
    answer = door.command("--help")
    assert answer.returncode == 0
    for word in ("clean", "fetch", "model=", " gru ", "lstm_peephole", "imdb", "smoke", "--multirun"):
        assert word in answer.stdout
    check = "import sys; from bench.__main__ import main; main(['--help']); print({'torch', 'hydra'} & {*sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.endswith("set()\n")


def test_help_of_a_verb(door: Study) -> None:
    for words in (("clean", "--help"), ("help", "clean")):
        assert "python -m bench clean" in door.command(*words).stdout


def test_version(door: Study) -> None:
    assert door.command("--version").stdout == f"bench {bench.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["claen"], "unknown verb 'claen', and a run takes KEY=VALUE: did you mean 'clean'?"),
        (["help", "claen"], "did you mean 'clean'?"),
        (["--multirn"], "unknown flag '--multirn': did you mean '--multirun'?"),
        (["--resolve"], "--resolve goes with --cfg"),
        (["model=gruu"], "unknown model 'gruu': did you mean 'gru'?"),
        (["model=gru", "verbose"], "cannot read 'verbose': write KEY=VALUE"),
        (["--cfg", "job", "model=gruu"], "unknown model 'gruu': did you mean 'gru'?"),
        (["+sweep=smoke"], "a sweep is several runs: add -m, as in python -m bench -m +sweep=smoke"),
        (["-m", "+sweep=smokee"], "unknown sweep 'smokee': did you mean 'smoke'?"),
        (["-m", "model=gru,lstmm"], "unknown model 'lstmm': did you mean 'lstm'?"),
        (["-m", "hydra/sweeper=basic", "seed=1,2"], "hydra/launcher=pool works with hydra/sweeper=bench only"),
        (["-m", "hydra.launcher.workers=0"], "hydra.launcher.workers=0: should be auto, or a whole number, 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(door: Study, words: list[str], expected: str) -> None:
    assert_one_line(door.command(*words), expected)
    assert list(door.folder.iterdir()) == []


def test_debug_shows_where(door: Study) -> None:
    answer = door.command("--debug", "model=gruu")
    assert answer.returncode == 2
    assert "Traceback" in answer.stderr
    assert answer.stderr.splitlines()[-1] == "bench: unknown model 'gruu': did you mean 'gru'?"


def test_hydra_shows_the_composed_configuration(door: Study) -> None:
    answer = door.command("--cfg", "job", "--package", "model", "model=lstm")
    assert answer.returncode == 0
    assert "cell: lstm" in answer.stdout
    assert "smoke" in door.command("--info", "defaults-tree", "+sweep=smoke").stdout


def test_a_reader_that_leaves_early_is_no_error(door: Study) -> None:
    command = f"{sys.executable} -m bench --help | true"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert answer.stderr == ""


def test_a_results_folder_that_cannot_be_written_is_one_line(study: Study) -> None:
    blocked = study.folder / "file"
    blocked.write_text("")
    assert_one_line(study.command(*study.overrides(f"results={blocked}")), "is a file, not a folder")


def test_a_run_ends_with_a_table_and_is_found_finished_the_next_time(study: Study) -> None:
    would = study.command(*study.overrides("dry_run=true"))
    assert (would.returncode, study.results.exists()) == (0, False)
    assert "not run yet" in would.stdout
    first = study.command(*study.overrides())
    assert first.returncode == 0, first.stderr
    for word in ("test accuracy", "tokens/s", "parameters", "record", "next"):
        assert word in first.stdout
    suggested = first.stdout.splitlines()[-1]
    assert suggested.startswith("next      python -m bench -m model=gru,lstm data=local data.path=")
    assert suggested.endswith("seed='range(3)'")
    check = f"import sys, bench; bench.run({study.overrides()!r}); print('torch' in sys.modules)"
    again = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert "is finished already" in again.stdout
    assert again.stdout.endswith("False\n")
    assert len(list(study.results.glob("runs/*/*/record.json"))) == 1


def test_a_diverged_run_leaves_a_record_and_exit_code_1(study: Study) -> None:
    answer = study.command(*study.overrides("training.learning_rate=1e38", "training.gradient_clip=null"))
    record = json.loads(next(study.results.glob("runs/*/*/record.json")).read_text())
    assert (answer.returncode, record["status"]) == (1, "diverged")
    assert "try training.learning_rate=" in answer.stdout


def test_a_run_from_python_returns_its_record(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.folder)
    record = bench.run(study.overrides())
    assert record.status is Status.FINISHED
    assert bench.records(study.results)["run_id"].tolist() == [record.run_id]
    assert bench.run(study.overrides()) == record
    assert bench.run(study.overrides("force=true")).execution_id != record.execution_id


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    check = "import sys, bench; print({'torch', 'hydra', 'pandas', 'pydantic', 'wandb'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout == "set()\n"
