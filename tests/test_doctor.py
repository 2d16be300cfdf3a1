"""`doctor` tells what runs depend on, and what to type where something is amiss; nothing private is shown."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.config import HardwareConfig
from bench.errors import UserError
from bench.runs.kernel_table import store_table
from bench.runs.kernel_timing import measure_table
from bench.verbs.doctor import doctor, examine
from bench.verbs.doctor_findings import Finding
from bench.verbs.doctor_kernels import kernels
from tests.file_server import FileServer

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own without a network, an account or a corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.setenv("BENCH_KERNEL", "loop")  # nothing is compiled
    for name in ("BENCH_DATA", "HF_HUB_OFFLINE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found() -> dict[tuple[str, str], Finding]:
    return {(finding.group, finding.name): finding for finding in examine()}


def test_through_the_door_every_line_ends_in_ok_or_in_what_to_type() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "measure=false"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    groups = {line.partition(":")[0] for line in lines}
    assert groups == {"versions", "machine", "kernels", "places", "corpora", "vectors", "network"}
    for line in lines:
        assert line.endswith(": ok") or re.search(r"type: |set |add |counts little|results/wandb", line), line


def test_scripts_get_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(["--json", "measure=false"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"group", "name", "value", "state", "advice"} == set(entries[0])
    versions = {entry["name"]: entry["value"] for entry in entries if entry["group"] == "versions"}
    for package in ("torch", "pytorch-lightning", "hydra-core", "wandb", "datasets", "numpy", "pyarrow"):
        assert versions[package] == metadata.version(package)


def test_both_executions_of_each_cell_are_told_by_their_operators() -> None:
    seen = found()
    for cell in ("rnn", "gru", "lstm"):
        assert seen["kernels", f"{cell} on cpu"].state == "ok"
        assert "step is all steps in one loop of ours: bench::loop_" in seen["kernels", f"{cell} on cpu"].value
    assert "addmm" in seen["kernels", "gru on cpu"].value
    fused = "mkldnn_rnn_layer" in seen["kernels", "lstm on cpu"].value
    assert fused == torch.backends.mkldnn.is_available()
    assert "torch is step by step" in seen["kernels", "rnn on cpu"].value
    assert seen["kernels", "native code"].advice == "type: unset BENCH_KERNEL"


def test_a_machine_without_a_compiler_is_told_what_to_add() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BENCH_KERNEL"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "measure=false"],
        env={**environment, "CXX": "/nowhere/c++"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("kernels: native code"))
    assert "CXX=/nowhere/c++ is not there" in line
    assert "add g++ or clang++, or set CXX=COMPILER" in line


def test_what_was_timed_says_what_auto_takes_and_what_is_stale_says_why() -> None:
    assert found()["kernels", "auto on cpu"].value == "not timed"
    hardware = HardwareConfig(accelerator="cpu")
    table = measure_table(hardware, cells=("rnn", "gru", "lstm"), sizes=(4, 8), seconds=0.1)
    clear = [replace(row, ratio=ratio, ratio_low=ratio - 0.1, ratio_high=ratio + 0.1)
             for row, ratio in zip(table.rows, (0.5, 2.0, 0.5, 0.5, 2.0, 1.0), strict=True)]  # fmt: skip
    store_table(replace(table, rows=clear, cpu_other_fraction=0.4))
    seen = found()
    assert seen["kernels", "auto: rnn on cpu"].value.startswith("takes torch at 8 and step at 4; milliseconds by torch")
    assert seen["kernels", "auto: gru on cpu"].value.startswith("takes step at 4, 8;")
    assert seen["kernels", "auto: lstm on cpu"].value.startswith("takes torch at 4, 8;")
    assert "other processes took 40% of the processor" in seen["kernels", "timing on cpu"].value
    store_table(replace(table, versions=replace(table.versions, torch="1.0")))
    assert found()["kernels", "auto on cpu"].value.startswith("timed before: torch was 1.0 and is ")


def test_what_was_timed_is_not_timed_again() -> None:
    asked: list[tuple[str, int]] = []
    table = measure_table(HardwareConfig(accelerator="cpu", threads=1), sizes=(4,), seconds=0.1)
    store_table(table)
    timed = {finding.name for finding in kernels("missing", threads=1, watch=lambda *case: asked.append(case))}
    assert asked == []
    assert {"auto: rnn on cpu", "auto: gru on cpu", "auto: lstm on cpu"} <= timed


def test_a_server_that_answers_is_told_from_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "127.0.0.1:9 cannot be reached" in found()["network", "hub"].value
    with FileServer(b"a hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert found()["network", "hub"].value.endswith("answers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert found()["network", "hub"].advice == "no download; type: unset HF_HUB_OFFLINE"


def test_an_account_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret0123456789")
    monkeypatch.setenv("WANDB_BASE_URL", "http://someone:password@127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    seen = found()
    assert "online, but 127.0.0.1:9 cannot be reached" in seen["network", "W&B"].value
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert found()["network", "W&B"].value == "offline: WANDB_MODE=offline"
    assert not re.search("secret0123456789|password|someone", repr(seen))


@pytest.mark.parametrize("variable", ["BENCH_DATA", "BENCH_VECTORS"])
def test_a_folder_that_does_not_exist_makes_runs_impossible(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "/nowhere")
    assert doctor(["measure=false"]) == 1
    assert f"places: {variable}: /nowhere: no such folder: no run can be made: correct it, or type: unset" in (
        capsys.readouterr().out
    )


def test_places_that_cannot_be_written_to_make_runs_impossible(
    surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (surroundings / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(surroundings / "file" / "cache"))
    (surroundings / "results").write_text("")
    seen = found()
    assert seen["places", "cache"].state == seen["places", "results"].state == "impossible"
    assert seen["places", "cache"].advice == "choose another folder with BENCH_CACHE=DIR"
    assert seen["places", "results"].advice == "choose another folder with results=DIR"


def test_corpora_and_vectors_are_told_by_the_place_they_are_found_in(
    surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (surroundings / "mirror" / "20news_bydate").mkdir(parents=True)
    (surroundings / "mirror" / "20news_bydate" / "train.parquet").write_text("no Parquet, and not looked into")
    (surroundings / "vectors").mkdir()
    (surroundings / "vectors" / "glove.6B.50d.txt").write_text("no vectors, and not looked into")
    monkeypatch.setenv("BENCH_DATA", str(surroundings / "mirror"))
    monkeypatch.setenv("BENCH_VECTORS", str(surroundings / "vectors"))
    seen = found()
    assert seen["corpora", "$BENCH_DATA"].value == "newsgroups20"
    assert seen["corpora", "package"].value == "bbc_news"
    assert {"adding", "copy", "parity", "anbn", "negation", "agreement"} == set(
        seen["corpora", "generated"].value.split()
    )
    absent = seen["corpora", "not here"]
    assert absent.advice == f"type: python -m bench fetch data={','.join(absent.value.split())}"
    assert "imdb" in absent.value.split()
    assert seen["vectors", "glove"].value == "$BENCH_VECTORS glove.6B.50d.txt (31 B)"
    assert seen["vectors", "word2vec"].advice == "type: python -m bench fetch embedding=word2vec"


def test_on_a_terminal_nothing_is_wider_than_it() -> None:
    """Read from the other end of a real terminal of 80 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment["TERM"] = "xterm"
    command = [sys.executable, "-m", "bench", "doctor", "measure=false"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment):
        os.close(theirs)
        shown = b"".join(_read_all(ours)).decode()
    assert "\x1b[32mok" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.rstrip().endswith("ok") for line in lines) > 10


def _read_all(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end was closed
            piece = b""
        if not piece:
            os.close(terminal)
            return
        yield piece


def test_an_unknown_argument_gets_one_line() -> None:
    with pytest.raises(UserError, match=r"unknown argument '--jsn': did you mean '--json'\?"):
        doctor(["--jsn"])
    for typed in ("measure=no", "hardware.threads=0", "hardware.threads=two"):
        with pytest.raises(UserError, match=f"unknown argument '{typed}': did you mean"):
            doctor([typed])
