"""The comparison with other programs: everybody trains on the same texts, and what goes wrong is said in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Study

SCRIPTS = ROOT / "benchmarks"
TOY = [
    "data.max_length=12", "data.vocabulary_size=60", "embedding.dimension=6", "model.hidden_size=5",
    "training.batch_size=4",
]  # fmt: skip
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason="Keras is not installed: pip install 'recurrent-bench[peers]'"
)


def throughput(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Type the command, in a process of its own."""
    command = [sys.executable, str(SCRIPTS / "throughput.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture
def toy(study: Study) -> list[str]:
    """A corpus of two classes, and the work made small."""
    study.write_corpus()
    for path in study.data.iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [json.dumps(row) + "\n" for row in rows if row["label"] != "music"]
        path.write_text("".join(lines))
    return ["data=local", f"data.path={study.data}", *TOY]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a refused command says, when it has said nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    *progress, error = done.stderr.splitlines()
    assert all("error" not in line for line in progress)
    return error


def test_all_of_torch_train_on_the_same_texts_in_every_round(toy: list[str], tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl"
    asked = ["--cells", "gru", "--peers", "torch", "--batches", "3", "--threads", "1", "--seconds", "1", "--json", file]
    done = throughput(*toy, *asked)
    assert done.returncode == 0, done.stderr
    (session,) = [json.loads(line) for line in file.read_text().splitlines()]
    plain = {f"torch-{way}{flush}" for way in ("packed", "padded", "bucketed") for flush in ("", "-flush")}
    assert len(session["rounds"]) == 1
    (turns,) = session["rounds"]
    assert set(turns) == {"ours-step", "ours-torch"} | plain
    assert {turn["samples"] for turn in turns.values()} == {12}
    assert len({turn["tokens"] for turn in turns.values()}) == 1
    assert len({ready["parameters"] for ready in session["ready"].values()}) == 1
    assert {ready["threads"] for ready in session["ready"].values()} == {1}
    packed, bucketed = turns["torch-packed"], turns["torch-bucketed"]
    assert packed["padded_tokens"] == packed["tokens"]
    assert turns["ours-step"]["padded_tokens"] == turns["ours-torch"]["padded_tokens"] == bucketed["padded_tokens"]
    for name in ("ours-step", "ours-torch"):  # waiting for others is no training time of the program's own clock
        assert 0 < turns[name]["clock_seconds"] <= turns[name]["seconds"]
    assert "ours-" in done.stdout
    again = throughput("--table", file)
    assert again.stdout == done.stdout


def test_contestants_can_be_named_one_by_one(toy: list[str], tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl"
    asked = ["--cells", "rnn", "--peers", "ours-torch,torch-padded", "--batches", "2", "--seconds", "1", "--json", file]
    assert throughput(*toy, *asked).returncode == 0
    (session,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert set(session["rounds"][0]) == {"ours-torch", "torch-padded"}


@needs_keras
def test_keras_trains_on_the_same_texts(toy: list[str], tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl"
    asked = ["--cells", "lstm", "--peers", "keras", "--batches", "2", "--seconds", "1", "--json", file]
    done = throughput(*toy, *asked)
    assert done.returncode == 0, done.stderr
    (session,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({turn["tokens"] for turn in session["rounds"][0].values()}) == 1


def test_an_interpreter_without_keras_is_named_with_the_way_out(toy: list[str], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = bare / "bin" / "python"
    said = one_line(throughput(*toy, "--cells", "gru", "--peers", "ours-torch,keras-tf", "--python-peers", python))
    assert said.startswith(f"error: keras-tf: {python}: ")
    assert "No module named 'numpy'" in said
    assert "--python-peers PATH" in said
    assert "--peers torch" in said


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--peers", "torch-paded"], "did you mean 'torch-padded'"),
        (["--python-peers", "/nowhere/python", "--peers", "keras-jax"], "--python-peers /nowhere/python"),
        (["--table", "/nowhere/turns.jsonl"], "/nowhere/turns.jsonl: No such file"),
        (["--cells", "grru"], "grru"),
        (["--batches", "0"], "--batches 0"),
    ],
)
def test_a_wrong_argument_is_one_line(toy: list[str], asked: list[str], says: str) -> None:
    assert says in one_line(throughput(*toy, "--seconds", "1", *asked))


def test_a_file_that_holds_no_measurements_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text('{"began": 1}\n')
    assert f"{file}: not a file that --json wrote" in one_line(throughput("--table", file))


def contestant(code: str, *commands: str) -> subprocess.CompletedProcess[str]:
    """A contestant of a few lines, told to prepare and then what else."""
    work = {"folder": "", "cell": "gru", "rows": 1, "embedding": 1, "hidden": 1, "batch": 1, "max_length": 1,
            "learning_rate": 0.1, "threads": 1, "seed": 0, "overrides": []}  # fmt: skip
    typed = [{"do": "prepare", "work": work}, *({"do": command} for command in commands)]
    return subprocess.run(
        [sys.executable, "-c", code],
        input="".join(json.dumps(command) + "\n" for command in typed),
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_what_a_contestant_prints_stays_out_of_its_answers() -> None:
    code = (
        "from peers.protocol import serve\n"
        "from peers.work import Ready, Turn\n"
        "def prepare(work):\n"
        "    print('loud')\n"
        "    return Ready(1, {}, 1), lambda: print('louder') or Turn(1.0, 2, 3, 4)\n"
        "serve(prepare)\n"
    )
    done = contestant(code, "train", "train", "quit")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(answer)) for answer in answers] == ["ready", "turn", "turn"]
    assert done.stderr.split() == ["loud", "louder", "louder"]
    assert done.returncode == 0


def test_a_contestant_that_fails_says_why() -> None:
    code = "from peers.protocol import serve\ndef prepare(work): raise ValueError('no such layer')\nserve(prepare)\n"
    done = contestant(code, "train")
    assert json.loads(done.stdout) == {"error": "ValueError: no such layer"}
    assert done.returncode == 1


def test_a_ratio_is_taken_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from peers.table import ratio
    from peers.work import Turn

    def turns(fast: float, slow: float) -> dict[str, Turn]:
        return {"fast": Turn(fast, 10, 90, 100), "slow": Turn(slow, 10, 90, 100)}

    noisy = [turns(1.0, 2.0), turns(30.0, 60.0), turns(2.0, 4.0), {"fast": Turn(5.0, 10, 90, 100)}]
    found = ratio(noisy, "fast", "slow")
    assert found is not None
    assert (found.middle, found.lowest, found.highest) == (2.0, 2.0, 2.0)
    assert found.interval == pytest.approx((2.0, 2.0))
    assert ratio(noisy, "fast", "absent") is None


def test_the_best_peer_is_the_one_that_comes_closest_in_common_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from peers.table import closest
    from peers.work import Turn

    def turns(**seconds: float) -> dict[str, Turn]:
        return {name.replace("_", "-"): Turn(taken, 10, 90, 100) for name, taken in seconds.items()}

    quiet, noisy = turns(ours_step=1.0, torch_padded=3.0), turns(ours_step=10.0, keras_tf=20.0)
    found = closest([quiet, quiet, noisy], "ours-step", "peer")
    assert found is not None
    assert (found[0], found[1].middle) == ("keras-tf", 2.0)
    assert closest([quiet], "ours-step", "borrower") is None
