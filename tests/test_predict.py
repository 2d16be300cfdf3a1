"""`python -m bench predict`, as a person or a script meets it: real processes, pipes, and a run trained for it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import bench
from bench.runs.record import RunRecord
from bench.runs.store import PREDICTIONS
from tests.conftest import Study

SECONDS = 120.0  # within which an answer has come, however busy the machine is
KEYS = ["label", "probability", "probabilities", "unseen"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One run with weights, which these tests share."""
    made = Study(tmp_path_factory.mktemp("predict"))
    made.write_corpus()
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("BENCH_CACHE", str(made.folder / "cache"))
        bench.run(made.overrides())
    return made


@pytest.fixture
def record(study: Study) -> RunRecord:
    return min(study.records(), key=lambda record: record.started_at)


def predicted(study: Study, *arguments: str, given: bytes | str = b"") -> subprocess.CompletedProcess[bytes]:
    """Type it, with this on standard input, in a locale that knows ASCII alone."""
    return subprocess.run(
        [sys.executable, "-m", "bench", "predict", *arguments],
        input=given.encode() if isinstance(given, str) else given, cwd=study.folder, capture_output=True,
        timeout=SECONDS, check=False, env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
    )  # fmt: skip


def answers(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def assert_one_line(done: subprocess.CompletedProcess[bytes], expected: str) -> None:
    assert done.returncode == 2
    assert expected in done.stderr.decode()
    assert done.stderr.startswith(b"bench: ")
    assert done.stderr.count(b"\n") == 1


class Listening:
    """The verb under way, to be talked to."""

    def __init__(self, study: Study) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench", "predict", "latest"], cwd=study.folder, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def say(self, line: str) -> dict[str, object]:
        """Send one line, keep the pipe open, and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, "no answer although a whole line was sent"
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def listening(study: Study) -> Iterator[Listening]:
    made = Listening(study)
    yield made
    made.process.kill()
    made.process.communicate()


def test_the_test_split_gets_the_recorded_labels_and_probabilities(study: Study, record: RunRecord) -> None:
    texts = [json.loads(line)["text"] for line in (study.data / "test.jsonl").read_text().splitlines()]
    kept = pq.read_table(study.results / "runs" / record.run_id / record.execution_id / PREDICTIONS).to_pydict()
    found = answers(predicted(study, record.run_id[:5], given="\n".join(texts)))
    assert [answer["label"] for answer in found] == kept["predicted"]
    assert len(set(kept["predicted"])) > 1
    for answer, probabilities in zip(found, kept["probabilities"], strict=True):
        assert list(answer) == KEYS
        named = answer["probabilities"]
        assert isinstance(named, dict)
        assert list(named) == ["money", "music", "sport"]
        assert list(named.values()) == pytest.approx(probabilities, abs=1e-6)
        assert answer["probability"] == max(named.values())


def test_every_line_gets_one_answer_in_order_the_empty_and_the_unknown_too(study: Study) -> None:
    given = "\ufeffgoal striker league\r\n\nqwertz ёлка\n" + "album singer guitar " * 500 + "\nbank shares profit"
    found = answers(predicted(study, "latest", "text=true", given=given))
    assert [answer["text"] for answer in found] == given.removeprefix("\ufeff").replace("\r", "").split("\n")
    assert [answer["label"] for answer in found if not answer["unseen"]] == ["sport", "music", "money"]
    assert [answer["unseen"] for answer in found] == [False, True, True, False, False]
    assert list(found[0]) == ["text", *KEYS]
    assert found[1]["probabilities"] == found[2]["probabilities"]


def test_nothing_in_is_nothing_out(study: Study) -> None:
    done = predicted(study, "latest")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_file_answers_as_standard_input_does(study: Study) -> None:
    (study.folder / "texts.txt").write_text("goal\nbank\n")
    piped = predicted(study, "latest", given="goal\nbank\n")
    assert len(answers(piped)) == 2
    for place in (["texts.txt"], ["-"]):
        assert predicted(study, "latest", *place, given="goal\nbank\n").stdout == piped.stdout


def test_a_line_is_answered_before_the_next_one_is_typed(listening: Listening) -> None:
    assert listening.say("goal striker league")["label"] == "sport"
    assert listening.say("bank shares profit")["label"] == "money"
    assert listening.say("")["unseen"] is True
    out, errors = listening.process.communicate(timeout=SECONDS)
    assert (out, errors, listening.process.returncode) == ("", "", 0)


def test_control_c_ends_it_in_one_line(listening: Listening) -> None:
    listening.say("goal")
    listening.process.send_signal(signal.SIGINT)
    out, errors = listening.process.communicate(timeout=SECONDS)
    assert (out, errors, listening.process.returncode) == ("", "bench: interrupted\n", 130)


def test_a_reader_that_has_seen_enough_is_no_error(study: Study) -> None:
    command = f"yes 'the goal' | head -n 20000 | {sys.executable} -m bench predict latest | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=study.folder, capture_output=True, timeout=SECONDS, check=True)
    assert done.stderr == b""
    assert list(json.loads(done.stdout)) == KEYS


def test_what_is_not_utf_8_is_named_after_the_lines_before_it_are_answered(study: Study) -> None:
    done = predicted(study, "latest", given=b"goal\nbank\ncaf\xe9\nalbum\n")
    assert_one_line(done, "standard input, line 3: byte 4 is not UTF-8 (0xe9): convert the texts first")
    assert done.stdout.count(b"\n") == 2


def test_mistakes_are_one_line_before_anything_is_read(study: Study, record: RunRecord) -> None:
    for words, expected in (
        ([], "predict: name one run"),
        (["one", "two", "three"], "predict: name one run"),
        (["zzz"], "no run 'zzz' in results"),
        (["latest", "results=elsewhere"], "in elsewhere"),
        (["latest", "nowhere.txt"], "cannot read nowhere.txt: No such file or directory"),
        (["latest", "."], "cannot read .: Is a directory"),
        (["latest", "text=yes"], "predict: text=yes: choose one of: false, true"),
        (["latest", "resulst=x"], "predict: unknown argument 'resulst=x': did you mean 'results'?"),
        (["latest", "device="], "predict: device needs a value"),
        ([record.run_id, "device=warp"], "device=warp cannot be used"),
    ):
        done = predicted(study, *words, given="goal\n")
        assert_one_line(done, expected)
        assert done.stdout == b""


def copied(study: Study, folder: Path, **changes: str) -> Study:
    """The same run in another results folder, with some fields of its record changed."""
    copy = Study(folder)
    (path,) = study.results.glob("runs/*/*/record.json")
    place = copy.results / path.parent.relative_to(study.results)
    shutil.copytree(path.parent, place)
    (place / "record.json").write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return copy


def test_other_code_than_trained_it_is_told_and_answers_all_the_same(study: Study, tmp_path: Path) -> None:
    done = predicted(copied(study, tmp_path, code_version="0123456789ab"), "latest", given="goal\n")
    assert len(answers(done)) == 1
    assert done.stderr.startswith(b"bench: run ")
    assert b"was trained by code 0123456789ab, and this is " in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_run_of_another_task_is_refused(study: Study, record: RunRecord, tmp_path: Path) -> None:
    done = predicted(copied(study, tmp_path, **{"data.task": "tagging"}), "latest", given="goal\n")
    assert_one_line(done, f"run {record.run_id} was trained for data.task=tagging (data=local)")
    assert done.stdout == b""


def test_help_says_what_comes_out(study: Study) -> None:
    said = study.command("predict", "--help").stdout
    for word in (*KEYS, "usage: python -m bench predict RUN_ID", "latest"):
        assert word in said
