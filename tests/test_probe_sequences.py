"""Adding and copying, generated: the answers are right, all texts are as long as asked for, and chance is as said."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bench
from bench.compose import compose
from bench.config import DataConfig
from bench.data.probes import class_names, expected, generate, split_size
from bench.data.sources import open_corpus
from bench.data.splits import IGNORED, Tags
from bench.data.tokens.text import TokenRules, tokenise
from bench.errors import UserError
from bench.runs.store import PREDICTIONS, Store
from tests.conftest import ROOT, Study

SPLITS = ("train", "dev", "test")
KINDS = {"adding": "regression", "copy": "tagging"}
SHORTEST = {"adding": 2, "copy": 21}


def probe(name: str, length: int = 24, size: int = 300, **more: object) -> DataConfig:
    made = DataConfig(name=name, probe=name, task=KINDS[name], length=length, size=size, max_length=10_000)  # type: ignore[arg-type]
    return replace(made, **more)  # type: ignore[arg-type]


@cache
def read(data: DataConfig, split: str = "train") -> list[tuple[str, object]]:
    """Each text and its answer: a number, or the labels of its tokens."""
    found: list[tuple[str, object]] = []
    for texts, answers in generate(data, split):
        if isinstance(answers, Tags):
            rows = [answers.values[a:b].tolist() for a, b in zip(answers.offsets, answers.offsets[1:], strict=False)]
            found += zip(texts, rows, strict=True)
        else:
            found += zip(texts, answers.tolist(), strict=True)
    return found


def digest(data: DataConfig) -> str:
    return hashlib.sha256(repr([read(data, split) for split in SPLITS]).encode()).hexdigest()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**63 - 1), st.sampled_from(SPLITS))
def test_the_sum_is_that_of_one_marked_value_in_either_half(length: int, seed: int, split: str) -> None:
    for text, answer in read(probe("adding", length, 40, probe_seed=seed), split):
        words = text.split(" ")
        assert len(words) == length
        assert all(re.fullmatch(r"[01]\.\d{3}\+?", word) and 0 <= float(word.rstrip("+")) <= 1 for word in words)
        first, second = ([word for word in half if word.endswith("+")] for half in
                         (words[: length // 2], words[length // 2 :]))  # fmt: skip
        assert len(first) == len(second) == 1
        assert answer == pytest.approx(float(first[0][:-1]) + float(second[0][:-1]), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(21, 60), st.integers(0, 2**63 - 1), st.sampled_from(SPLITS))
def test_ten_symbols_are_asked_for_behind_the_delimiter(length: int, seed: int, split: str) -> None:
    data = probe("copy", length, 40, probe_seed=seed)
    for text, answer in read(data, split):
        assert isinstance(answer, list)
        symbols, delimiter, asked = text.partition(" : ")
        assert delimiter
        assert asked.split(" ") == ["."] * 10
        assert symbols.split(" ")[10:] == ["."] * (length - 21)
        said = [class_names(data)[label] for label in answer[-10:]]
        assert said == symbols.split(" ")[:10]
        assert set(said) <= set("abcdefgh")
        assert answer[:-10] == [IGNORED] * (length - 10)


def test_values_and_places_are_uniform() -> None:
    texts = [text.split(" ") for text, _ in read(probe("adding", 10, 8000))]
    values = np.array([float(word.rstrip("+")) for words in texts for word in words])
    assert values.mean() == pytest.approx(0.5, abs=0.005)
    assert values.var() == pytest.approx(0.0835, abs=0.001)
    places = np.array([[place for place, word in enumerate(words) if word.endswith("+")] for words in texts])
    assert np.abs(np.bincount(places[:, 0], minlength=5) / 8000 - 0.2).max() < 0.02
    assert np.abs(np.bincount(places[:, 1] - 5, minlength=5) / 8000 - 0.2).max() < 0.02


def test_the_best_answer_without_a_look_is_right_as_often_as_said() -> None:
    sums = np.array([answer for _, answer in read(probe("adding", 4, 20_000))], float)
    assert np.mean(np.abs(sums - 1) < 0.04 - 1e-9) == pytest.approx(expected(probe("adding")).chance, abs=0.008)
    assert np.mean((sums - 1) ** 2) == pytest.approx(0.167, abs=0.004)
    labels = [label for _, answer in read(probe("copy", 21, 2000)) for label in answer[-10:]]  # type: ignore[index]
    assert np.abs(np.bincount(labels) / len(labels) - expected(probe("copy")).chance).max() < 0.01


@pytest.mark.parametrize("name", KINDS)
def test_another_process_makes_the_same_texts_and_another_seed_others(name: str) -> None:
    code = f"from tests.test_probe_sequences import *; print(digest(probe({name!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(probe(name))
    assert digest(probe(name, probe_seed=1)) != digest(probe(name))


@pytest.mark.parametrize("name", KINDS)
def test_a_larger_corpus_begins_with_the_smaller_one(name: str) -> None:
    small, large = (read(probe(name, size=size)) for size in (1500, 4500))
    assert (len(small), len(large)) == (1500, 4500)
    assert large[:1500] == small
    assert [split_size(probe(name, size=5000), split) for split in SPLITS] == [5000, 500, 1000]


@pytest.mark.parametrize("name", KINDS)
def test_only_test_texts_have_the_test_length(name: str) -> None:
    data = probe(name, 30, test_length=50)
    lengths = [{len(text.split(" ")) for text, _ in read(data, split)} for split in SPLITS]
    assert lengths == [{30}, {30}, {50}]


@pytest.mark.parametrize("name", KINDS)
def test_the_shortest_length_works_and_a_shorter_one_is_one_line(name: str) -> None:
    assert {len(text.split(" ")) for text, _ in read(probe(name, SHORTEST[name]))} == {SHORTEST[name]}
    with pytest.raises(UserError) as caught:
        class_names(probe(name, SHORTEST[name] - 1))
    short = SHORTEST[name]
    assert (
        str(caught.value) == f"data.length={short - 1}: {name} needs at least {short} tokens: type data.length={short}"
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_token_is_one_word_and_its_label_stays_with_it(name: str) -> None:
    data = compose([f"data={name}", "data.size=50"]).data
    rules, corpus = TokenRules.of(data), open_corpus(data)
    for text, _ in read(data):
        assert tokenise(text, rules) == text.split(" ")
    split = corpus.splits["train"]
    if split.tags is None:
        assert split.labels.tolist() == [answer for _, answer in read(data)]
    else:
        assert split.tags.values.tolist() == [label for _, answer in read(data) for label in answer]  # type: ignore[attr-defined]
    assert corpus.label_names == class_names(data)
    assert tuple(data.labels or ()) == class_names(data)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_agrees_with_what_is_made(name: str) -> None:
    header = (ROOT / "conf" / "data" / f"{name}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert f"Chance {100 * expected(probe(name)).chance:.3g}%" in header
    page = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in page


def test_only_the_recalled_symbols_are_judged(study: Study) -> None:
    record = bench.run(
        ["data=copy", "data.length=25", "data.size=100", "recipe=probe", "model.hidden_size=8", "training.epochs=1",
         "logger=none", "hardware=cpu", "hardware.threads=1", f"results={study.results}"]
    )  # fmt: skip
    assert record.test_texts == 20
    assert record.test_tokens == 200
    assert sum(map(sum, record.test_confusion or ())) == 200
    folder = Store(study.results).folder(record.run_id, record.execution_id)
    kept = pq.read_table(folder / PREDICTIONS).to_pydict()
    assert kept["position"] == list(range(15, 25)) * 20
    symbols = [
        text.split(" ")[:10] for text, _ in read(compose(["data=copy", "data.length=25", "data.size=100"]).data, "test")
    ]
    assert kept["label"] == [symbol for row in symbols for symbol in row]
