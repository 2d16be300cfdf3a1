"""Corpora larger than memory: read in pieces that change nothing; faults are found wherever they stand."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import DataConfig
from bench.data.duplicates import DIGEST, count_duplicates, first_rows
from bench.data.sources import Corpus, Split, open_corpus
from bench.errors import UserError

ROWS = 20_000  # several pieces of every format
TEXTS = [f"text {row} of many" for row in range(ROWS)]
LABELS = ["even" if row % 2 == 0 else "odd" for row in range(ROWS)]

Columns = dict[str, Sequence[object]]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache, and no mirror."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return folder


def write_parquet(path: Path, columns: Columns, group: int | None = None) -> None:
    pq.write_table(pa.table(dict(columns)), path, row_group_size=group or ROWS)


def write_csv(path: Path, columns: Columns, delimiter: str = ",") -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])


def write_jsonl(path: Path, columns: Columns) -> None:
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Columns], None]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
    ".tsv": lambda path, columns: write_csv(path, columns, "\t"),
    ".jsonl": write_jsonl,
}
every_format = pytest.mark.parametrize("kind", WRITERS)


def opened(folder: Path, **keys: object) -> Corpus:
    return open_corpus(replace(DataConfig(name="local", path=str(folder)), **keys))  # type: ignore[arg-type]


def complaint(folder: Path, **keys: object) -> str:
    """What a person reads; and nothing is kept of a corpus that was refused."""
    cache = Path(os.environ["BENCH_CACHE"])
    before = sorted(cache.rglob("*"))
    with pytest.raises(UserError) as caught:
        opened(folder, **keys)
    assert "\n" not in str(caught.value)
    assert sorted(cache.rglob("*")) == before
    return str(caught.value)


class TestPieces:
    @every_format
    def test_texts_come_some_thousands_at_a_time_and_none_is_lost(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", {"text": TEXTS, "label": LABELS})
        split = opened(tmp_path).splits["train"]
        for _ in range(2):
            chunks = list(split.chunks())
            assert len(chunks) > 2
            assert max(map(len, chunks)) <= 8_192
            assert [text for chunk in chunks for text in chunk] == TEXTS
        assert split.labels.tolist() == [0, 1] * (ROWS // 2)
        assert split.labels.dtype == np.int64

    @every_format
    def test_long_texts_come_fewer_at_a_time(self, tmp_path: Path, kind: str) -> None:
        texts = [f"{row} " + f"{row % 7}" * 1_000_000 for row in range(24)]
        WRITERS[kind](tmp_path / f"train{kind}", {"text": texts, "label": LABELS[:24]})
        chunks = list(opened(tmp_path).splits["train"].chunks())
        assert [text for chunk in chunks for text in chunk] == texts
        assert max(sum(map(len, chunk)) for chunk in chunks) < 12_000_000

    def test_the_same_content_has_one_fingerprint_however_it_is_cut(self, tmp_path: Path) -> None:
        columns: Columns = {"text": [*TEXTS[:-1], TEXTS[0]], "label": LABELS}
        corpora = []
        for kind, write in WRITERS.items():
            (tmp_path / kind).mkdir()
            write(tmp_path / kind / f"train{kind}", columns)
            corpora.append(opened(tmp_path / kind))
        for group in (1_000, 777, 13_000):
            write_parquet(tmp_path / ".parquet/train.parquet", columns, group)
            corpora.append(opened(tmp_path / ".parquet"))
        assert len({corpus.fingerprint for corpus in corpora}) == 1
        assert {(corpus.sizes["train"], str(corpus.duplicates)) for corpus in corpora} == {
            (ROWS, str(corpora[0].duplicates))
        }
        assert corpora[0].duplicates is not None
        assert corpora[0].duplicates.duplicates_train == 1

    def test_memory_does_not_grow_with_a_row_group(self, tmp_path: Path) -> None:
        if not sys.platform.startswith("linux"):
            pytest.skip("VmHWM of /proc/self/status is Linux")
        peaks = []
        for rows in (15_000, 120_000):  # either is many chunks
            texts = [f"{row} " + "abcdefgh" * 400 for row in range(rows)]  # 48 MB, 380 MB
            table = pa.table({"text": texts, "label": np.arange(rows) % 2, "id": [f"id {row}" for row in range(rows)]})
            pq.write_table(table, tmp_path / "train.parquet", row_group_size=rows, use_dictionary=False)
            done = subprocess.run(
                [sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, check=True
            )
            characters, peak = map(int, done.stdout.split())
            assert characters == sum(map(len, texts))
            peaks.append(peak)
        assert peaks[1] - peaks[0] < 150

    def test_what_is_known_is_told_without_a_look_into_the_files(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            write_parquet(tmp_path / f"{split}.parquet", {"text": TEXTS[:9], "label": LABELS[:9]})
        while time.time() - max(path.stat().st_ctime for path in tmp_path.iterdir()) < 2.1:
            time.sleep(0.1)
        seen = files_opened_below(tmp_path)
        first = opened(tmp_path)
        assert len(seen) == 2
        seen.clear()
        again = opened(tmp_path)
        assert (again.sizes, again.duplicates, again.fingerprint, again.label_names) == (
            first.sizes, first.duplicates, first.fingerprint, first.label_names,
        )  # fmt: skip
        assert seen == []
        assert list(again.splits["train"].texts) == TEXTS[:9]
        assert seen != []


READ_ALL = """
import sys
from bench.config import DataConfig
from bench.data.sources import open_corpus
split = open_corpus(DataConfig(name="local", path=sys.argv[1])).splits["train"]
characters = sum(len(text) for chunk in split.chunks() for text in chunk)
assert sum(1 for _ in split.ids) == len(split.labels)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(characters, int(peak.split()[1]) // 1024)
"""

_WATCHED: list[tuple[str, list[str]]] = []


def files_opened_below(folder: Path) -> list[str]:
    """The files below a folder that this process opens from now on; the list grows."""
    if not _WATCHED:
        sys.addaudithook(_note)
    _WATCHED.append((str(folder), []))
    return _WATCHED[-1][1]


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for folder, seen in _WATCHED:
            if str(arguments[0]).startswith(folder):
                seen.append(str(arguments[0]))


class TestFaultsAnywhere:
    """A fault in the last piece is told like one in the first: with its row in the file."""

    @every_format
    def test_empty_texts_are_counted_over_all_pieces(self, tmp_path: Path, kind: str) -> None:
        texts = list(TEXTS)
        texts[16], texts[-2] = " ", ""
        WRITERS[kind](tmp_path / f"train{kind}", {"text": texts, "label": LABELS})
        assert f"train{kind}: 2 empty texts, first in row 17:" in complaint(tmp_path)

    @every_format
    def test_missing_labels_are_counted_over_all_pieces(self, tmp_path: Path, kind: str) -> None:
        labels: list[str | None] = list(LABELS)
        labels[9_000] = labels[-1] = None
        WRITERS[kind](tmp_path / f"train{kind}", {"text": TEXTS, "label": labels})
        assert f"train{kind}: 2 rows without a label, first row 9001:" in complaint(tmp_path)

    @every_format
    def test_an_empty_column_is_so_many_empty_texts(self, tmp_path: Path, kind: str) -> None:
        WRITERS[kind](tmp_path / f"train{kind}", {"text": [None] * ROWS, "label": LABELS})
        assert f"train{kind}: {ROWS} empty texts, first in row 1:" in complaint(tmp_path)

    @every_format
    def test_a_class_may_appear_late_and_an_unknown_one_is_placed(self, tmp_path: Path, kind: str) -> None:
        labels = [*LABELS[:-1], "rare"]
        WRITERS[kind](tmp_path / f"train{kind}", {"text": TEXTS, "label": labels})
        assert opened(tmp_path).label_names == ("even", "odd", "rare")
        line = complaint(tmp_path, labels=["even", "odd"])
        assert f"train{kind}, row {ROWS}: label 'rare' is none of data.labels" in line

    @pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
    def test_bytes_that_are_not_utf8_are_placed_in_the_file(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / f"train{kind}"
        WRITERS[kind](path, {"text": TEXTS, "label": LABELS})
        content = bytearray(path.read_bytes())
        place = content.index(b"text 19000")
        content[place] = 0xE9
        path.write_bytes(content)
        line = content.count(b"\n", 0, place) + 1
        assert f"train{kind} is not UTF-8 at line {line}, byte {place} (0xe9):" in complaint(tmp_path)

    def test_parquet_texts_that_are_not_utf8_are_placed(self, tmp_path: Path) -> None:
        texts = [text.encode() for text in TEXTS]
        texts[19_000] = b"caf\xe9"
        write_parquet(tmp_path / "train.parquet", {"text": texts, "label": LABELS})
        assert "train.parquet, row 19001: the text is not UTF-8" in complaint(tmp_path)

    @pytest.mark.parametrize(
        ("late", "says"),
        [
            ({"text": 7, "label": 1}, "'text' is no str"),
            ({"text": "late", "label": "one"}, "'label' is no int"),
            ({"text": "late", "label": 0.5}, "'label' is no int"),
            ({"text": "late \ud83d", "label": 1}, "'text' is no str in valid Unicode"),
        ],
    )
    def test_a_json_value_of_another_type_than_in_earlier_pieces(
        self, tmp_path: Path, late: dict[str, object], says: str
    ) -> None:
        write_jsonl(tmp_path / "train.jsonl", {"text": TEXTS, "label": [0, 1] * (ROWS // 2)})
        with (tmp_path / "train.jsonl").open("a") as stream:
            stream.write(json.dumps(late) + "\n")
        assert f"train.jsonl, row {ROWS + 1}: {says}" in complaint(tmp_path)

    @pytest.mark.parametrize(
        ("kind", "says"),
        [
            (".parquet", "is damaged or no Parquet file"),
            (".csv", "fields where the header has 3; quote"),
            (".tsv", "fields where the header has 3; quote"),
            (".jsonl", "no valid JSON"),
        ],
    )
    def test_a_file_cut_in_the_middle_is_refused(self, tmp_path: Path, kind: str, says: str) -> None:
        path = tmp_path / f"train{kind}"
        WRITERS[kind](path, {"label": LABELS, "text": TEXTS, "id": list(range(ROWS))})
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b" of many", len(content) // 2)])
        assert f"train{kind}" in (line := complaint(tmp_path))
        assert says in line

    def test_damage_in_a_late_page_of_a_parquet_file_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "train.parquet"
        write_parquet(path, {"text": TEXTS, "label": LABELS}, group=5_000)
        start = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
        content = bytearray(path.read_bytes())
        content[start : start + 500] = b"\xff" * 500
        path.write_bytes(content)
        assert "train.parquet is damaged" in complaint(tmp_path)


class TestLateLooks:
    """Texts and ids stay in the file, and behave like lists."""

    @pytest.fixture
    def split(self, tmp_path: Path) -> Split:
        columns: Columns = {"text": TEXTS, "label": LABELS, "id": [f"id {row}" for row in range(ROWS)]}
        write_parquet(tmp_path / "train.parquet", columns)
        return opened(tmp_path).splits["train"]

    def test_they_are_sequences(self, split: Split) -> None:
        assert (len(split.texts), len(split.ids)) == (ROWS, ROWS)
        assert (split.texts[0], split.texts[12_345], split.texts[-1]) == (TEXTS[0], TEXTS[12_345], TEXTS[-1])
        assert split.texts[9_998:10_002] == TEXTS[9_998:10_002]
        assert split.ids[:4:-5_000] == [f"id {row}" for row in range(ROWS)][:4:-5_000]
        assert split.texts[7:7] == []
        assert split.texts == TEXTS
        assert split.texts != TEXTS[:-1]
        assert split.texts != [*TEXTS[:-1], "other"]
        with pytest.raises(IndexError):
            split.texts[ROWS]

    def test_ids_that_do_not_name_every_row_are_numbers(self, tmp_path: Path) -> None:
        ids = [*(f"id {row}" for row in range(ROWS - 1)), None]
        write_parquet(tmp_path / "train.parquet", {"text": TEXTS, "label": LABELS, "id": ids})
        split = opened(tmp_path).splits["train"]
        assert (split.ids[0], split.ids[-1], len(split.ids)) == ("train-0", f"train-{ROWS - 1}", ROWS)

    def test_a_file_that_has_changed_is_not_taken_for_what_it_was(self, tmp_path: Path, split: Split) -> None:
        assert split.texts == TEXTS
        write_parquet(tmp_path / "train.parquet", {"text": ["other", "texts"], "label": ["even", "odd"]})
        for look in (lambda: list(split.chunks()), lambda: list(split.ids)):
            with pytest.raises(UserError, match=r"train\.parquet has changed meanwhile: type the command again"):
                look()

    def test_texts_in_memory_come_in_chunks_too(self) -> None:
        split = Split(TEXTS, np.arange(ROWS) % 2, [str(row) for row in range(ROWS)])
        chunks = list(split.chunks())
        assert len(chunks) > 2
        assert [text for chunk in chunks for text in chunk] == TEXTS


class TestDuplicates:
    def test_deduplication_keeps_texts_labels_and_ids_together_over_all_pieces(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        drawn = random.integers(0, 9_000, ROWS).tolist()
        columns: Columns = {
            "text": [f"text {number}" for number in drawn],
            "label": [number % 2 for number in drawn],
            "id": [f"{number} in row {row}" for row, number in enumerate(drawn)],
        }
        first = list({number: row for row, number in reversed(list(enumerate(drawn)))}.values())
        for kind in (".parquet", ".jsonl"):
            (tmp_path / kind).mkdir()
            WRITERS[kind](tmp_path / kind / f"train{kind}", columns)
            corpus = opened(tmp_path / kind, deduplicate=True)
            split = corpus.splits["train"]
            rows = [int(name.split()[-1]) for name in split.ids]
            assert rows == sorted(first)
            assert split.texts == [f"text {drawn[row]}" for row in rows]
            assert split.labels.tolist() == [drawn[row] % 2 for row in rows]
            assert corpus.sizes == {"train": len(set(drawn))}
            assert corpus.duplicates is not None
            assert corpus.duplicates.duplicates_train == 0

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.sampled_from("abcde"), min_size=1), st.lists(st.sampled_from("bcdef"), min_size=1))
    def test_counts_are_those_of_a_plain_count(self, train: list[str], test: list[str]) -> None:
        digests = {name: np.array([text.encode() for text in texts], DIGEST) for name, texts in
                   (("train", train), ("test", test))}  # fmt: skip
        counted = count_duplicates(digests)
        assert counted.duplicates_train == sum(count - 1 for count in Counter(train).values())
        assert counted.duplicates_test == sum(count - 1 for count in Counter(test).values())
        assert counted.shared_train_test == len(set(train) & set(test))
        assert (counted.duplicates_dev, counted.shared_train_dev, counted.shared_dev_test) == (None, None, None)
        assert first_rows(digests["train"]).tolist() == sorted({text: train.index(text) for text in train}.values())

    def test_digests_that_end_in_zeros_or_hold_high_bytes_are_told_apart(self) -> None:
        raw = [
            b"a" + bytes(15),
            b"a" + bytes(14) + b"\1",
            bytes(16),
            b"\xff" * 16,
            b"\xff" * 15 + b"\0",
            b"a" + bytes(15),
        ]
        digests = np.frombuffer(b"".join(raw), DIGEST)
        assert first_rows(digests).tolist() == [0, 1, 2, 3, 4]
        counted = count_duplicates({"train": digests, "dev": digests[3:]})
        assert (counted.duplicates_train, counted.shared_train_dev) == (1, 3)

    def test_imdb_shares_123_texts_between_train_and_test(
        self, real_data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BENCH_DATA", str(real_data))
        duplicates = open_corpus(DataConfig(name="imdb", labels=["neg", "pos"])).duplicates
        assert duplicates is not None
        assert (duplicates.shared_train_test, duplicates.duplicates_train, duplicates.duplicates_test) == (123, 96, 199)
        assert duplicates.shared_train_dev is None
