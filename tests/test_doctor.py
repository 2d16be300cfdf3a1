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
from importlib import metadata
from pathlib import Path

import pytest
import torch

from bench.errors import UserError
from bench.verbs.doctor import doctor, examine
from bench.verbs.doctor_findings import Finding
from tests.file_server import FileServer

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own without a network, an account or a corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    for name in ("BENCH_DATA", "HF_HUB_OFFLINE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found() -> dict[tuple[str, str], Finding]:
    return {(finding.group, finding.name): finding for finding in examine()}


def test_through_the_door_every_line_ends_in_ok_or_in_what_to_type() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor"], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    groups = {line.partition(":")[0] for line in lines}
    assert groups == {"versions", "machine", "kernels", "places", "corpora", "vectors", "network"}
    for line in lines:
        assert line.endswith(": ok") or re.search(r"type: |set |add |counts little|results/wandb", line), line


def test_scripts_get_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(["--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"group", "name", "value", "state", "advice"} == set(entries[0])
    versions = {entry["name"]: entry["value"] for entry in entries if entry["group"] == "versions"}
    for package in ("torch", "pytorch-lightning", "hydra-core", "wandb", "datasets", "numpy", "pyarrow"):
        assert versions[package] == metadata.version(package)


def test_the_kernel_of_each_cell_is_the_one_that_torch_uses() -> None:
    seen = found()
    for cell in ("rnn", "gru", "lstm"):
        assert seen["kernels", f"{cell} on cpu"].state == "ok"
    assert "addmm" in seen["kernels", "gru on cpu"].value
    fused = "mkldnn_rnn_layer" in seen["kernels", "lstm on cpu"].value
    assert fused == torch.backends.mkldnn.is_available()
    assert "step by step" in seen["kernels", "rnn on cpu"].value


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
    assert doctor([]) == 1
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
    assert {"parity", "anbn", "negation", "agreement"} == set(seen["corpora", "generated"].value.split())
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
    command = [sys.executable, "-m", "bench", "doctor"]
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
