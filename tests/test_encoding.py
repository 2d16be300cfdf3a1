"""Encoded corpora: the cache and its damages, many processes, words, and what a run reads of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import DataConfig
from bench.data.module import prepare
from bench.data.sources import Corpus, Split, open_corpus
from bench.data.tokens import pieces
from bench.data.tokens.encoding import EncodedCorpus, encode_corpus
from bench.data.tokens.pieces import encode_pieces, pieces_of
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings, write_strings
from bench.data.tokens.text import TokenRules, tokenise
from bench.data.tokens.vocabulary import SPECIAL_WORDS, UNKNOWN, Vocabulary
from bench.errors import UserError
from bench.files import cache_root

DATA = DataConfig(name="made")
TEXTS = {"train": ["one two", "two three three", "Four <br> four", "two one"], "test": ["two five"]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def corpus_of(texts: Mapping[str, list[str]] = TEXTS, fingerprint: str = "f", origin: str = "made") -> Corpus:
    splits = {
        name: Split(lines, np.arange(len(lines)) % 2, [f"{origin}-{name}-{row}" for row in range(len(lines))])
        for name, lines in texts.items()
    }
    return Corpus("made", splits, ("a", "b"), fingerprint, origin, None, ids_fingerprint=origin)


class Unread(Mapping[str, Split]):
    """Splits that nobody may look at."""

    def __getitem__(self, name: str) -> Split:
        raise AssertionError(f"the split {name} is read")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the splits are listed")

    def __len__(self) -> int:
        raise AssertionError("the splits are counted")


def unread() -> Corpus:
    """The corpus of `corpus_of`, but for its splits."""
    return Corpus("made", Unread(), ("a", "b"), "f", "made", None, ids_fingerprint="made")


def words_of(encoded: EncodedCorpus) -> dict[str, list[list[str]]]:
    """The words of every text of every split."""
    words = list(encoded.words)
    return {
        name: [
            [words[k] for k in split.tokens.ids[start : start + length].tolist()]
            for start, length in zip(split.tokens.starts.tolist(), split.tokens.lengths.tolist(), strict=True)
        ]
        for name, split in encoded.splits.items()
    }


def folder_of_cache() -> Path:
    (folder,) = (path for path in (cache_root() / "encoded").iterdir() if path.is_dir())
    return folder


def test_words_stand_in_order_of_first_appearance_with_labels_and_names_beside_them() -> None:
    encoded = encode_corpus(corpus_of(), DATA)
    assert list(encoded.words) == ["one", "two", "three", "four", "<", "br", ">", "five"]
    assert words_of(encoded) == {name: [tokenise(text) for text in texts] for name, texts in TEXTS.items()}
    assert encoded.splits["train"].labels.tolist() == [0, 1, 0, 1]
    assert list(encoded.splits["test"].names) == ["made-test-0"]


def test_a_second_run_looks_at_no_text() -> None:
    first = encode_corpus(corpus_of(), DATA)
    again = encode_corpus(unread(), DATA)
    assert words_of(again) == words_of(first)
    assert list(again.splits["train"].names) == [f"made-train-{row}" for row in range(4)]


def test_preparing_a_run_a_second_time_looks_at_no_text() -> None:
    first, again = prepare(corpus_of(), DATA, seed=3), prepare(unread(), DATA, seed=3)
    for one, other in ((first.train, again.train), (first.validation, again.validation)):
        assert list(one.names) == list(other.names) != []
        np.testing.assert_array_equal(one.labels, other.labels)
        everything = np.arange(len(one))
        np.testing.assert_array_equal(one.padded(everything)[0], other.padded(everything)[0])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def another_words_file(path: Path) -> None:
    """A sound file, of words that are not these."""
    write_strings(path, ["one"])


def too_many_labels(path: Path) -> None:
    """A sound file of a wrong length, which the manifest knows of."""
    np.save(path, np.zeros(9, np.int64))
    manifest = path.parent / "manifest.json"
    tree = json.loads(manifest.read_text())
    tree["bytes"][path.name] = path.stat().st_size
    manifest.write_text(json.dumps(tree))


def offsets_that_run_backwards(path: Path) -> None:
    np.save(path, np.load(path)[::-1])


def of_objects(path: Path) -> None:
    """An array that would need unpickling, and would run code by it; as large as the one it takes the place of."""
    size = path.stat().st_size
    np.save(path, np.array([None]), allow_pickle=True)
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.tokens", cut), ("train.tokens", Path.unlink),
        ("train.offsets.npy", cut), ("train.offsets.npy", Path.unlink), ("train.offsets.npy", garbage),
        ("train.offsets.npy", offsets_that_run_backwards), ("train.offsets.npy", of_objects),
        ("test.labels.npy", cut), ("test.labels.npy", Path.unlink), ("test.labels.npy", garbage),
        ("test.labels.npy", too_many_labels),
        ("words.arrow", cut), ("words.arrow", Path.unlink), ("words.arrow", garbage),
        ("words.arrow", another_words_file),
        ("test.names.arrow", cut), ("test.names.arrow", Path.unlink), ("test.names.arrow", garbage),
        ("manifest.json", cut), ("manifest.json", Path.unlink), ("manifest.json", garbage),
    ],
)  # fmt: skip
def test_a_damaged_cache_is_rebuilt(name: str, damage: Callable[[Path], object]) -> None:
    whole = words_of(encode_corpus(corpus_of(), DATA))
    before = {path.name: path.read_bytes() for path in folder_of_cache().iterdir()}
    damage(folder_of_cache() / name)
    with pytest.raises(AssertionError, match=r"read|listed|counted"):
        encode_corpus(unread(), DATA)  # it would have to be built
    assert words_of(encode_corpus(corpus_of(), DATA)) == whole
    assert {path.name: path.read_bytes() for path in folder_of_cache().iterdir()} == before
    assert words_of(encode_corpus(unread(), DATA)) == whole


def test_a_corpus_that_cannot_be_read_to_its_end_leaves_no_cache() -> None:
    class Broken(Split):
        def chunks(self) -> Iterator[list[str]]:
            yield ["one two"]
            raise UserError("train.csv, line 2: malformed; check the quotes there")

    corpus = corpus_of()
    broken = Broken(["one two"], np.array([0]), ["a"])
    with pytest.raises(UserError, match=r"train\.csv, line 2"):
        encode_corpus(Corpus("made", {"train": broken}, ("a", "b"), "f", "made", None), DATA)
    assert [path for path in (cache_root() / "encoded").iterdir() if path.is_dir()] == []
    assert words_of(encode_corpus(corpus, DATA))["train"][0] == ["one", "two"]


@pytest.mark.parametrize(
    "setting", [{"tokens": "char"}, {"lowercase": False}, {"strip_html": True}, {"unicode_form": None}]
)
def test_the_cache_tells_settings_apart(setting: dict[str, object]) -> None:
    encode_corpus(corpus_of(), DATA)
    other = DataConfig(name="made", **setting)  # type: ignore[arg-type]
    rules = TokenRules.of(other)
    expected = {name: [tokenise(text, rules) for text in texts] for name, texts in TEXTS.items()}
    assert words_of(encode_corpus(corpus_of(), other)) == expected
    assert words_of(encode_corpus(corpus_of(), DATA)) == {
        name: [tokenise(text) for text in texts] for name, texts in TEXTS.items()
    }


def test_the_cache_tells_contents_apart_and_the_ids_of_another_source() -> None:
    encode_corpus(corpus_of(), DATA)
    changed = encode_corpus(corpus_of({"train": ["six"]}, fingerprint="g"), DATA)
    assert list(changed.words) == ["six"]
    elsewhere = encode_corpus(corpus_of(origin="elsewhere"), DATA)
    assert list(elsewhere.splits["test"].names) == ["elsewhere-test-0"]


def test_settings_that_change_no_token_share_the_cache() -> None:
    encode_corpus(corpus_of(), DATA)
    for setting in ({"max_length": 3}, {"vocabulary_size": 5}, {"shuffle_words": True}, {"truncation": "both"}):
        encode_corpus(unread(), DataConfig(name="made", **setting))  # type: ignore[arg-type]


BUILDER = """
import sys
from pathlib import Path
import numpy as np
from bench.config import DataConfig
from bench.data.tokens.encoding import encode_corpus
from bench.data.sources import Corpus, Split

class Counted(Split):
    def chunks(self):
        with open(sys.argv[1], "a") as log:
            log.write("read\\n")
        yield from super().chunks()

texts = [f"word{k % 97} and {k}" for k in range(20_000)]
split = Counted(texts, np.arange(20_000) % 2, [str(k) for k in range(20_000)])
print("ready", flush=True)
sys.stdin.readline()
encoded = encode_corpus(Corpus("made", {"train": split}, ("a", "b"), "f", "made", None), DataConfig(name="made"))
print(len(encoded.words), int(encoded.splits["train"].tokens.ids.sum()))
"""


def test_of_many_processes_one_builds_and_the_others_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILDER, str(log)]
    processes = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert log.read_text() == "read\n", "built more than once"
    assert len(set(outputs)) == 1
    assert outputs[0].split()[0] == str(97 + 1 + 20_000)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.text("abc d", min_size=1, max_size=20), max_size=4), max_size=6), st.integers(1, 30))
def test_however_texts_are_divided_into_chunks_and_pieces_the_numbers_are_the_same(
    chunks: list[list[str]], characters: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_CHARACTERS", characters)
        divided = list(pieces_of("train", chunks))
    texts = [text for chunk in chunks for text in chunk]
    assert [text for _, piece in divided for text in piece] == texts
    assert all(len(piece) == 1 or sum(map(len, piece[:-1])) < characters for _, piece in divided)


@pytest.mark.parametrize("rules", [TokenRules(), TokenRules(tokens="char")], ids=["word", "char"])
def test_processes_and_one_process_encode_alike(rules: TokenRules, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"train": [f"word{k % 17} and Wörter{k % 5} again" for k in range(60)], "test": ["word3 unseen", "again"]}

    def encoded(name: str) -> EncodedCorpus:
        return encode_corpus(corpus_of(texts, fingerprint=name), DataConfig(name="made", tokens=rules.tokens))

    monkeypatch.setattr(pieces, "PIECE_CHARACTERS", 200)
    alone = encoded("alone")
    monkeypatch.setattr(pieces, "PARALLEL_CHARACTERS", 1)
    monkeypatch.setattr(pieces, "usable_cores", lambda: 2)
    together = encoded("together")
    assert list(together.words) == list(alone.words)
    assert words_of(together) == words_of(alone)
    assert words_of(alone) == {name: [tokenise(text, rules) for text in lines] for name, lines in texts.items()}


def worker_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "LokyProcess" in " ".join(child.cmdline())]


def test_an_error_in_a_large_corpus_ends_the_worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PARALLEL_CHARACTERS", 1)
    monkeypatch.setattr(pieces, "usable_cores", lambda: 2)
    working = []

    def broken() -> Iterator[tuple[str, list[str]]]:
        for _ in range(9):
            yield "train", ["some text"] * 100
        working.extend(worker_processes())
        raise UserError("the file ends too early")

    with pytest.raises(UserError, match="too early"):
        list(encode_pieces(broken(), TokenRules()))
    assert working, "there were no worker processes"
    assert worker_processes() == []


def test_a_worker_that_is_killed_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PARALLEL_CHARACTERS", 1)
    monkeypatch.setattr(pieces, "usable_cores", lambda: 2)

    def texts() -> Iterator[tuple[str, list[str]]]:
        for _ in range(9):
            yield "train", ["some text"]
        working = worker_processes()
        assert working
        for process in working:
            process.kill()
        for _ in range(100):
            yield "train", ["some text"]

    with pytest.raises(UserError, match="ended from outside, perhaps for want of memory: type the command again"):
        list(encode_pieces(texts(), TokenRules()))


def vocabulary_of(texts: Mapping[str, list[str]], size: int, minimum_count: int) -> Vocabulary:
    encoded = encode_corpus(corpus_of(texts, fingerprint=repr(texts)), DATA)
    return Vocabulary.of(encoded.words, encoded.splits["train"].tokens, size, minimum_count)


def test_the_vocabulary_knows_the_training_part_alone() -> None:
    texts = {"train": ["b b a", "a b c"], "test": ["d d d d a"]}
    vocabulary = vocabulary_of(texts, size=100, minimum_count=1)
    assert vocabulary.words == ["b", "a", "c"]
    assert vocabulary.counts.tolist() == [3, 2, 1]
    test = encode_corpus(corpus_of(texts, fingerprint=repr(texts)), DATA).splits["test"].tokens
    assert vocabulary.table[test.ids].tolist() == [UNKNOWN] * 4 + [3]
    assert vocabulary.unknown_fraction(test) == 0.8


def test_vocabulary_size_counts_the_special_rows_and_minimum_count_drops_rare_words() -> None:
    texts = {"train": ["b b a", "a b c"]}
    assert len(vocabulary_of(texts, size=4, minimum_count=1)) == 4
    assert vocabulary_of(texts, size=100, minimum_count=2).words == ["b", "a"]


def test_of_equally_frequent_words_the_first_ones_are_kept() -> None:
    vocabulary = vocabulary_of({"train": ["e d", "c b a", "a b c d e f"]}, size=SPECIAL_WORDS + 3, minimum_count=1)
    assert vocabulary.words == ["e", "d", "c"]


def test_what_a_text_of_nothing_but_markup_is_made_of_is_no_word() -> None:
    encoded = encode_corpus(corpus_of({"train": ["<br>", "a <br>"]}), DataConfig(name="made", strip_html=True))
    assert list(encoded.words) == ["", "a"]
    vocabulary = Vocabulary.of(encoded.words, encoded.splits["train"].tokens, 100, 1)
    assert vocabulary.words == ["a"]
    assert vocabulary.table.tolist() == [UNKNOWN, SPECIAL_WORDS]
    assert len(vocabulary.counts) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.data(), st.integers(1, 12))
def test_all_tokens_of_some_texts_are_met_piece_by_piece(
    lengths: list[int], data: st.DataObject, piece_tokens: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    whole = Ragged.of(np.arange(offsets[-1], dtype=np.int32), offsets)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=20))
    expected = [token for row in rows for token in range(int(offsets[row]), int(offsets[row + 1]))]
    some = whole.subset(np.array(rows, np.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.data.tokens.ragged._PIECE_TOKENS", piece_tokens)
        found = [piece.tolist() for piece in some.pieces()]
        counts = some.counts(int(offsets[-1]))
    assert [token for piece in found for token in piece] == expected
    assert all(len(piece) <= max(piece_tokens, *lengths) for piece in found)
    assert counts.tolist() == np.bincount(expected, minlength=int(offsets[-1])).tolist()


def test_strings_are_found_by_place_in_a_file_of_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.tokens.strings._BATCH", 7)
    values = [f"имя {k}\n" for k in range(40)]
    write_strings(tmp_path / "names.arrow", iter(values))
    strings = Strings.read(tmp_path / "names.arrow")
    assert list(strings) == values
    assert (len(strings), strings[0], strings[-1], strings[5:9]) == (40, values[0], values[-1], values[5:9])
    some = strings.subset(np.array([39, 3, 3])).subset(np.array([2, 0]))
    assert list(some) == [values[3], values[39]]
    assert strings.take(np.array([1, 0])) == values[1::-1]
    with pytest.raises(IndexError):
        strings[40]


def test_ids_that_were_edited_alone_are_read_anew(tmp_path: Path) -> None:
    data = DataConfig(name="mine", path=str(tmp_path))
    for prefix in ("old", "new"):
        rows = "".join(f"text {row},{row % 2},{prefix}{row}\n" for row in range(4))
        (tmp_path / "train.csv").write_text("text,label,id\n" + rows)
        corpus = open_corpus(data)
        assert list(encode_corpus(corpus, data).splits["train"].names) == [f"{prefix}{row}" for row in range(4)]
