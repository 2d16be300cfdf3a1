"""`fetch` brings corpora and vectors ahead of time, says what they are, and lists what the cache holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.verbs.fetch import fetch
from tests.conftest import Study
from tests.file_server import FileServer

GLOVE = b"the 0.1 0.2 0.3\nfilm 1 2 3\n"
DIGEST = hashlib.sha256(GLOVE).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody serves there
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(GLOVE) as server:
        yield server


def glove(server: FileServer) -> list[str]:
    return ["embedding=glove", "embedding.package=null", f"embedding.url={server.url}", f"embedding.sha256={DIGEST}"]


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert fetch(arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_an_empty_cache_says_how_to_fill_it(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys)
    assert "nothing is cached in" in line
    assert "python -m bench fetch [data=NAME" in line
    assert json.loads("".join(lines_of(capsys, "--json"))) == []


def test_what_was_downloaded_is_listed_with_size_checksum_and_place(
    server: FileServer, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = lines_of(capsys, *glove(server))
    assert line.startswith("glove: 3 dimensions; from official vectors.txt; ")
    assert line.endswith(f"({len(GLOVE)} B); fingerprint {DIGEST[:16]}")
    path = cache / "vectors-files" / "glove" / "vectors.txt"
    listed = [row.split("\t") for row in lines_of(capsys)]
    assert listed == [["vectors", "glove/vectors.txt", str(len(GLOVE)), DIGEST[:16], "-", str(path)]]
    assert lines_of(capsys, "--list") == ["\t".join(listed[0])]
    (entry,) = json.loads("".join(lines_of(capsys, "--json")))
    assert (entry["size"], entry["checksum"], entry["path"]) == (len(GLOVE), DIGEST[:16], str(path))


def test_a_download_that_is_not_complete_is_listed_as_such(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = cache / "vectors-files" / "glove" / "glove.6B.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    (line,) = lines_of(capsys)
    assert line.split("\t")[:4] == ["vectors (unfinished)", "glove/glove.6B.zip.part", "4", "-"]


def test_only_what_was_mentioned_is_fetched(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.partition(":")[0] for line in lines_of(capsys, *glove(server))] == ["glove"]
    assert [line.partition(":")[0] for line in lines_of(capsys, "data=bbc_news")] == ["bbc_news"]
    assert [line.partition(":")[0] for line in lines_of(capsys, "model=lstm")] == ["bbc_news", "random"]


def test_several_are_fetched_one_after_the_other(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines_of(capsys, "data=parity,negation", "embedding=glove,random", *glove(server)[1:])
    assert [line.partition(":")[0] for line in said] == ["parity", "negation", "glove", "random"]


def test_one_that_cannot_be_had_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="1 of 2 could not be had: imdb"):
        fetch(["data=imdb,bbc_news"])
    said = capsys.readouterr()
    assert said.out.startswith("bbc_news: train")
    assert said.err.startswith("bench: data=imdb not found")
    assert said.err.count("\n") == 1


def test_a_wrong_name_is_refused_before_anything_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"unknown data 'imbd': did you mean 'imdb'\?"):
        fetch(["data=bbc_news,imbd"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--lst"], r"unknown flag '--lst': did you mean '--list'\?"), (["--json", "data=imdb"], "leave it out")],
)
def test_a_wrong_flag_gets_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fetch(arguments)


def test_sizes_classes_and_duplicates_of_a_corpus_are_told(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    for split, texts in {"train": ["one", "two", "two", "same"], "test": ["same", "else"]}.items():
        rows = [json.dumps({"text": text, "label": "ab"[row % 2]}) for row, text in enumerate(texts)]
        (study.data / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    (study.data / "dev.jsonl").unlink()
    (line,) = lines_of(capsys, "data=local", f"data.path={study.data}")
    assert line.startswith("local: train 4, test 2; from folder; ")
    assert "2 classes: a, b; exact duplicates: 1 within train, 1 in train and test" in line


def test_of_generated_corpora_the_accuracy_of_simple_answers_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys, "data=negation", "data.size=200")
    assert "train 200" in line
    assert "accuracy of chance 50.0%, of a bag of words 50.0%" in line


def test_of_tagged_sentences_the_tags_are_told(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(real_data))
    (line,) = lines_of(capsys, "data=pos")
    assert line.startswith("pos: train 12,544, dev 2,001, test 2,077; from mirror ud_en_ewt")
    assert "17 tags: ADJ, ADP" in line


def test_an_encoded_corpus_and_its_key_are_listed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cache / "encoded" / "ag_news-0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "ids.npy").write_bytes(b"0" * 7)
    (line,) = lines_of(capsys)
    assert line.split("\t") == ["encoded corpus", "ag_news", "7", "0123456789abcdef", "-", str(folder)]
