"""Tokens, vocabularies and the encoded cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import DataConfig
from bench.data import text
from bench.data.batches import Texts
from bench.data.sources import Corpus, Split
from bench.data.text import UNKNOWN, Ragged, Vocabulary, encode_corpus, tokenise


def corpus_of(*texts: str, name: str = "made", fingerprint: str = "f") -> Corpus:
    split = Split(list(texts), np.arange(len(texts)) % 2, [f"id-{row}" for row in range(len(texts))])
    return Corpus(name, {"train": split}, ("a", "b"), fingerprint, "made", None)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("It's GREAT, isn't it?", ["it", "'s", "great", ",", "is", "n't", "it", "?"]),
        ("do n't", ["do", "n't"]),
        ("Это НЕ плохо!", ["это", "не", "плохо", "!"]),
        ("a_b 3.5 naïve", ["a_b", "3", ".", "5", "naïve"]),
        ("   ", []),
    ],
)
def test_words_and_punctuation(written: str, words: list[str]) -> None:
    assert tokenise(written) == words


def test_markup_becomes_blanks_only_where_asked() -> None:
    assert tokenise("good<br /><br />film 1 < 2", strip_html=True) == ["good", "film", "1", "<", "2"]
    assert "<" in tokenise("good<br />film")


def test_case_is_kept_where_asked() -> None:
    assert tokenise("Big Ben", lowercase=False) == ["Big", "Ben"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_encoding_loses_no_word(texts: list[str]) -> None:
    encoded = text._encode({"train": texts}, lowercase=True, strip_html=False)
    ragged = encoded.splits["train"]
    for row, written in enumerate(texts):
        ids = ragged.ids[ragged.offsets[row] : ragged.offsets[row + 1]]
        assert [encoded.words[k] for k in ids] == (tokenise(written) or [""])


def test_processes_and_one_process_encode_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"train": [f"word{k % 17} and word{k % 5} again" for k in range(60)], "test": ["word3 unseen", "again"]}
    alone = text._encode(texts, lowercase=True, strip_html=False)
    monkeypatch.setattr(text, "_PARALLEL_CHARACTERS", 0)
    monkeypatch.setattr(text.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    together = text._encode(texts, lowercase=True, strip_html=False)
    assert together.words == alone.words
    for name in texts:
        np.testing.assert_array_equal(together.splits[name].ids, alone.splits[name].ids)
        np.testing.assert_array_equal(together.splits[name].offsets, alone.splits[name].offsets)


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    corpus, data = corpus_of("one two", "two three three"), DataConfig(name="made")
    first = encode_corpus(corpus, data)
    (ids,) = tmp_path.rglob("train.ids.npy")
    ids.write_bytes(ids.read_bytes()[:-4])
    again = encode_corpus(corpus, data)
    np.testing.assert_array_equal(first.splits["train"].ids[:], again.splits["train"].ids)
    assert os.stat(ids).st_size > 0
    assert encode_corpus(corpus, data).words == ["one", "two", "three"]


def test_the_cache_tells_settings_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    corpus = corpus_of("Big ben", "big Ben")
    assert encode_corpus(corpus, DataConfig(name="made")).words == ["big", "ben"]
    assert encode_corpus(corpus, DataConfig(name="made", lowercase=False)).words == ["Big", "ben", "big", "Ben"]


def test_the_vocabulary_knows_the_training_part_alone() -> None:
    encoded = text._encode({"train": ["b b a", "a b c"], "test": ["d d d d a"]}, lowercase=True, strip_html=False)
    vocabulary = Vocabulary.of(encoded.words, encoded.splits["train"].ids, size=100, minimum_count=1)
    assert vocabulary.words == ["b", "a", "c"]
    assert vocabulary.counts.tolist() == [3, 2, 1]
    assert vocabulary.apply(encoded.splits["test"]).ids.tolist() == [UNKNOWN] * 4 + [3]


def test_vocabulary_size_counts_the_special_rows_and_minimum_count_drops_rare_words() -> None:
    encoded = text._encode({"train": ["b b a", "a b c"]}, lowercase=True, strip_html=False)
    ids = encoded.splits["train"].ids
    assert len(Vocabulary.of(encoded.words, ids, size=4, minimum_count=1)) == 4
    assert Vocabulary.of(encoded.words, ids, size=100, minimum_count=2).words == ["b", "a"]


def test_a_subset_holds_the_same_tokens() -> None:
    texts = Texts(
        Ragged(np.arange(10, dtype=np.int32), np.array([0, 3, 4, 10])), np.array([0, 1, 0]), ["x", "y", "z"], 5
    )
    part = texts.subset(np.array([2, 0]))
    assert part.ids.ids.tolist() == [4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert part.names == ["z", "x"]
    assert part.lengths.tolist() == [5, 3]
