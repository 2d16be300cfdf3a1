"""A download is resumed after a break, checked before use, done by one process, and refused in one line otherwise."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.embeddings.download import download
from bench.errors import UserError
from tests.file_server import FileServer

CONTENT = random.Random(5).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "vectors.txt"


def files(target: Path) -> set[str]:
    """What lies beside a download, its lock left out."""
    return {path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")}


def refusal(server: FileServer, target: Path, sha256: str = DIGEST) -> str:
    with pytest.raises(UserError) as error:
        download(server.url, sha256, target)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server: FileServer, target: Path) -> None:
    download(server.url, DIGEST, target)
    assert target.read_bytes() == CONTENT
    assert files(target) == {"vectors.txt"}
    assert server.ranges == [None]


def test_a_break_in_the_middle_is_resumed_where_it_was(server: FileServer, target: Path) -> None:
    server.behaviour.breaks = [100_000, 50_000]
    download(server.url, DIGEST, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_command_typed_again_goes_on_where_the_last_one_stopped(server: FileServer, target: Path) -> None:
    server.behaviour.breaks = [120_000, 0, 0, 0]
    assert "broke off after 0.1 MB" in refusal(server, target)
    assert not target.exists()
    before = len(server.ranges)
    download(server.url, DIGEST, target)
    assert server.ranges[before:] == ["bytes=120000-"]
    assert target.read_bytes() == CONTENT
    assert files(target) == {"vectors.txt"}


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(server: FileServer, target: Path) -> None:
    server.behaviour.breaks = [120_000, 0, 0, 0]
    refusal(server, target)
    server.behaviour.content = CONTENT[::-1]
    download(server.url, hashlib.sha256(CONTENT[::-1]).hexdigest(), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_what_arrived_from_another_address_is_not_continued(server: FileServer, target: Path) -> None:
    server.behaviour.breaks = [120_000, 0, 0, 0]
    refusal(server, target)
    with FileServer(CONTENT) as other:
        download(other.url, DIGEST, target)
        assert other.ranges == [None]
    assert target.read_bytes() == CONTENT


def test_a_download_that_was_complete_but_for_its_last_step_needs_no_byte_more(
    server: FileServer, target: Path
) -> None:
    server.behaviour.breaks = [len(CONTENT) - 1, 0, 0, 0]
    refusal(server, target)
    with target.with_name("vectors.txt.part").open("ab") as part:
        part.write(CONTENT[-1:])
    download(server.url, DIGEST, target)
    assert server.ranges[-1] == f"bytes={len(CONTENT)}-"
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_leaves_nothing_behind(server: FileServer, target: Path) -> None:
    line = refusal(server, target, "0" * 64)
    assert DIGEST in line
    assert "0" * 64 in line
    assert files(target) == set()


@pytest.mark.parametrize(("status", "words"), [(404, "is not there"), (403, "is refused"), (503, "is refused")])
def test_what_the_server_answers_instead_is_said_at_once(
    server: FileServer, target: Path, status: int, words: str
) -> None:
    server.behaviour.status = status
    assert f"{words} (HTTP {status})" in refusal(server, target)
    assert len(server.ranges) == 1
    assert files(target) == set()


def test_a_server_that_is_not_there_is_given_up_within_three_seconds(target: Path) -> None:
    server = FileServer(CONTENT)
    server._server.server_close()
    begun = time.monotonic()
    assert "cannot be reached" in refusal(server, target)
    assert time.monotonic() - begun < 3


def test_an_address_that_is_no_web_address_is_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(UserError, match="https://"):
        download((tmp_path / "secret").as_uri(), DIGEST, target)
    assert not target.exists()


def test_of_two_processes_one_downloads_and_the_other_waits(server: FileServer, target: Path) -> None:
    server.behaviour.hold = threading.Event()
    code = f"""
from pathlib import Path
from bench.embeddings.download import download
download({server.url!r}, {DIGEST!r}, Path({str(target)!r}))
print(len(Path({str(target)!r}).read_bytes()))
"""
    first = _start(code)
    assert server.halfway.wait(60)
    second = _start(code)
    assert second.stderr is not None
    said = second.stderr.readline()
    assert "another process is downloading vectors.txt" in said
    server.behaviour.hold.set()
    for process in (first, second):
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output.strip()) == (0, str(len(CONTENT)))
    assert server.ranges == [None]


def test_a_full_disk_is_one_line_and_what_arrived_is_kept(server: FileServer, target: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from bench.embeddings.download import download
from bench.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # writing fails from here on
try:
    download({server.url!r}, {DIGEST!r}, Path({str(target)!r}))
except UserError as error:
    print(error)
"""
    output, _ = _start(code).communicate(timeout=60)
    assert "cannot write" in output
    assert output.count("\n") == 1
    assert target.with_name("vectors.txt.part").stat().st_size == 100_000
    download(server.url, DIGEST, target)
    assert server.ranges[-1] == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_without_a_terminal_progress_is_plain_lines(
    server: FileServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(server.url, DIGEST, target)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "vectors.txt: 0.0 MB of 0.3 MB\n"


def _start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
