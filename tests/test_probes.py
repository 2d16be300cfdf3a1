"""Generated corpora: the answers are right, reproducible and balanced, and no bag of words finds them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.compose import compose
from bench.config import DataConfig
from bench.data.probes import class_names, expected, generate, split_size
from bench.data.tokens.text import tokenise
from bench.errors import UserError
from tests.conftest import ROOT, Study

PROBES = ("parity", "anbn", "negation", "agreement")
SPLITS = ("train", "dev", "test")
SHORTEST = {"parity": 2, "anbn": 4, "negation": 12, "agreement": 10}

GOOD = set("good great lovely brilliant fine superb charming fresh".split())  # noqa: SIM905
BAD = set("bad dull awful boring poor weak sad bland".split())  # noqa: SIM905
WOMEN = set("alice mary emma anna julia laura".split())  # noqa: SIM905


def probe(name: str, length: int = 24, size: int = 1500, **more: object) -> DataConfig:
    made = DataConfig(name=name, probe=name, length=length, size=size, max_length=10_000)  # type: ignore[arg-type]
    return replace(made, **more)  # type: ignore[arg-type]


@cache
def texts_of(data: DataConfig, split: str = "train") -> list[tuple[str, str]]:
    """Each text and the name of its class."""
    names = class_names(data)
    return [(text, names[k]) for texts, labels in generate(data, split) for text, k in zip(texts, labels, strict=True)]


def digest(data: DataConfig) -> str:
    return hashlib.sha256(repr([texts_of(data, split) for split in SPLITS]).encode()).hexdigest()


def answer(name: str, text: str) -> str:
    """The answer, found by reading the text: written without a look at how texts are made."""
    return {"parity": _parity, "anbn": _anbn, "negation": _last_sentiment, "agreement": _role_of_pronoun}[name](text)


def _parity(text: str) -> str:
    return "odd" if text.count("1") % 2 else "even"


def _anbn(text: str) -> str:
    """By the grammar S → a S b | a b."""
    letters = text.split()
    while len(letters) > 2 and (letters[0], letters[-1]) == ("a", "b"):
        letters = letters[1:-1]
    return "anbn" if letters == ["a", "b"] else "other"


def _last_sentiment(text: str) -> str:
    assert text.split().count("not") == 1
    assert re.fullmatch(r"(the \w+ was( \w+)+) but (the \w+ was( \w+)+)", text)
    _, last = text.split(" but ")
    words = last.split()
    assert sum(word in GOOD | BAD for word in words) == 1
    assert words[-1] in GOOD | BAD
    return "positive" if (words[-1] in GOOD) != ("not" in words) else "negative"


def _role_of_pronoun(text: str) -> str:
    people = re.findall(r"(\w+) the (baker|doctor|painter|pilot)\b", text)
    pronouns = [word for word in text.split() if word in ("she", "he")]
    assert len(people) == 2
    assert len(pronouns) == 1
    roles = {("she" if name in WOMEN else "he"): role for name, role in people}
    assert len(roles) == 2, "one woman and one man"
    return roles[pronouns[0]]


@pytest.mark.parametrize("name", PROBES)
@settings(max_examples=8, deadline=None)
@given(
    extra=st.integers(0, 30), size=st.integers(10, 300), seed=st.integers(0, 2**63 - 1), split=st.sampled_from(SPLITS)
)
def test_every_answer_is_the_one_a_reader_finds(name: str, extra: int, size: int, seed: int, split: str) -> None:
    data = probe(name, SHORTEST[name] + extra, size, probe_seed=seed)
    texts = texts_of(data, split)
    assert len(texts) == split_size(data, split)
    for text, label in texts:
        assert answer(name, text) == label, text


@pytest.mark.parametrize("name", PROBES)
@settings(max_examples=8, deadline=None)
@given(size=st.integers(10, 2500), split=st.sampled_from(SPLITS))
def test_classes_are_balanced_to_within_one_text(name: str, size: int, split: str) -> None:
    data = probe(name, size=size)
    counts = Counter(label for _, label in texts_of(data, split))
    assert set(counts) == set(class_names(data))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", PROBES)
def test_a_tenth_validates_and_a_fifth_tests_but_never_less_than_two_of_a_class(name: str) -> None:
    assert [split_size(probe(name, size=5000), split) for split in SPLITS] == [5000, 500, 1000]
    classes = len(class_names(probe(name)))
    assert [split_size(probe(name, size=10), split) for split in SPLITS] == [10, 2 * classes, 2 * classes]


@pytest.mark.parametrize("name", PROBES)
def test_texts_come_in_chunks_that_can_be_taken_one_at_a_time(name: str) -> None:
    chunks = generate(probe(name, size=5000), "train")
    texts, labels = next(chunks)
    assert 1000 <= len(texts) < 5000
    assert labels.dtype == np.int64
    assert len(texts) + sum(len(more) for more, _ in chunks) == 5000


def test_another_process_makes_the_same_texts() -> None:
    code = "from tests.test_probes import *; print(*(digest(probe(name, size=500)) for name in PROBES))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(probe(name, size=500)) for name in PROBES]


@pytest.mark.parametrize("name", PROBES)
def test_a_larger_corpus_begins_with_the_smaller_one(name: str) -> None:
    for split in SPLITS:
        small, large = (texts_of(probe(name, size=size), split) for size in (1500, 4500))
        assert large[: len(small)] == small


@pytest.mark.parametrize("name", PROBES)
def test_another_seed_makes_other_texts_and_another_test_length_only_another_test(name: str) -> None:
    data = probe(name)
    other, longer = replace(data, probe_seed=1), replace(data, test_length=40)
    assert texts_of(data) != texts_of(other)
    assert [texts_of(data, split) == texts_of(longer, split) for split in SPLITS] == [True, True, False]


@pytest.mark.parametrize("name", PROBES)
def test_length_varies_up_to_the_one_asked_for_and_tells_nothing_of_the_class(name: str) -> None:
    data = probe(name, length=24, size=8000)
    lengths: dict[str, list[int]] = {label: [] for label in class_names(data)}
    for text, label in texts_of(data):
        lengths[label].append(len(text.split(" ")))
    step = 2 if name == "anbn" else 1
    possible = list(range(SHORTEST[name], 25, step))
    shares = [np.bincount(found, minlength=25)[possible] / len(found) for found in lengths.values()]
    for found, share in zip(lengths.values(), shares, strict=True):
        assert set(found) == set(possible)
        assert np.abs(share - shares[0]).sum() / 2 < 0.08
        assert np.abs(share - 1 / len(possible)).max() < 0.025, "each length is as frequent as any other"


@pytest.mark.parametrize("name", PROBES)
def test_a_longer_test_holds_only_texts_longer_than_any_in_training(name: str) -> None:
    data = probe(name, length=20, size=2000, test_length=30)
    trained, tested = ([len(text.split()) for text, _ in texts_of(data, split)] for split in ("train", "test"))
    assert max(trained) == 20
    assert (min(tested), max(tested)) == (22 if name == "anbn" else 21, 30)
    assert not {text for text, _ in texts_of(data)} & {text for text, _ in texts_of(data, "test")}


@pytest.mark.parametrize("name", ["parity", "negation", "agreement"])
def test_no_text_stands_in_two_splits(name: str) -> None:
    data = probe(name, size=6000)
    train, dev, test = ({text for text, _ in texts_of(data, split) if len(text.split()) >= 9} for split in SPLITS)
    assert len(train) > 3000
    assert len(test) > 600
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_the_split_of_a_parity_string_does_not_follow_its_bits() -> None:
    data = probe("parity", length=16, size=20_000)
    bits = [[2 * int(bit) - 1 for bit in text.split()] for text, _ in texts_of(data) if len(text.split()) == 16]
    means = np.array(bits).mean(axis=0)
    assert len(bits) > 1000
    assert np.abs(means).max() < 4 / np.sqrt(len(bits)), "no bit is more often set in training texts"


@pytest.mark.parametrize("name", PROBES)
def test_words_survive_the_tokeniser(name: str) -> None:
    for split in SPLITS:
        for text, _ in texts_of(probe(name, size=1000), split):
            assert tokenise(text) == text.split(" ")


def accuracy_of_counts(data: DataConfig, words: int) -> float:
    """Test accuracy of logistic regression over the counts of up to so many words in a row."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    (train, labels), (test, truth) = (zip(*texts_of(data, split), strict=True) for split in ("train", "test"))
    counter = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, words))
    fitted = LogisticRegression(max_iter=200).fit(counter.fit_transform(train), labels)
    return float(fitted.score(counter.transform(test), truth))


@pytest.mark.parametrize("name", PROBES)
def test_a_bag_of_words_gets_no_further_than_we_say(name: str) -> None:
    data = probe(name, length=30, size=6000)
    found, said = accuracy_of_counts(data, 1), expected(data)
    assert said.chance == 1 / len(class_names(data))
    assert found < said.bag_of_words + 0.04
    floor = said.chance if name == "anbn" else said.bag_of_words  # there a linear use of counts needs some luck
    assert found > floor - 0.04


@pytest.mark.parametrize(("name", "most"), [("parity", 0.5), ("anbn", 0.875), ("negation", 0.5), ("agreement", 0.5)])
def test_bigrams_help_where_we_say_and_nowhere_else(name: str, most: float) -> None:
    found = accuracy_of_counts(probe(name, length=30, size=6000), 2)
    assert found < most + 0.045
    assert name != "anbn" or found > 0.7, "a b followed by an a gives half of the others away"


def test_equal_counts_are_right_about_three_quarters_of_anbn() -> None:
    texts = texts_of(probe("anbn", length=40, size=6000))
    right = [(text.count("a") == text.count("b")) == (label == "anbn") for text, label in texts]
    assert np.mean(right) == pytest.approx(0.75, abs=0.02)


def test_given_the_words_both_sentiments_are_equally_likely() -> None:
    groups: dict[int, list[bool]] = {0: [], 1: [], 2: []}
    for text, label in texts_of(probe("negation", size=8000)):
        groups[sum(word in GOOD for word in text.split())].append(label == "positive")
    for labels in groups.values():
        assert len(labels) > 1500
        assert np.mean(labels) == pytest.approx(0.5, abs=0.045)


def test_given_the_first_clause_both_sentiments_are_equally_likely() -> None:
    agrees = []
    for text, label in texts_of(probe("negation", size=8000)):
        words = text.split(" but ")[0].split()
        agrees.append(((words[-1] in GOOD) != ("not" in words)) == (label == "positive"))
    assert np.mean(agrees) == pytest.approx(0.5, abs=0.025)


def test_given_the_roles_each_is_equally_likely_wherever_it_stands_and_whoever_is_asked_for() -> None:
    groups: dict[tuple[bool, str], list[bool]] = {}
    for text, label in texts_of(probe("agreement", size=8000)):
        (first_name, first_role), _ = re.findall(r"(\w+) the (\w+)", text)[:2]
        pronoun = "she" if " she " in text else "he"
        groups.setdefault((first_name in WOMEN, pronoun), []).append(first_role == label)
    assert len(groups) == 4
    for (woman_first, pronoun), firsts in groups.items():
        assert len(firsts) > 1500
        assert set(firsts) == {woman_first == (pronoun == "she")}, "only both together tell who is meant"


MISTAKES = {
    ("agreement", 2, None): "data.length=2: agreement needs at least 10 tokens: type data.length=10",
    ("negation", 11, None): "data.length=11: negation needs at least 12 tokens: type data.length=12",
    ("anbn", 3, None): "data.length=3: anbn needs at least 4 tokens: type data.length=4",
    ("parity", 1, None): "data.length=1: parity needs at least 2 tokens: type data.length=2",
    ("parity", 9, 1): "data.test_length=1: parity needs at least 2 tokens: type data.test_length=2",
    ("anbn", 40, 41): "data.test_length=41: anbn has no text longer than data.length=40 and that short: "
    "type data.test_length=42",
    ("parity", 20_000, None): "data.max_length=10000 cuts texts of data.length=20000, and their answers with them: "
    "type data.max_length=20000",
    ("parity", 20, 20_000): "data.max_length=10000 cuts texts of data.test_length=20000, and their answers with them: "
    "type data.max_length=20000",
}


@pytest.mark.parametrize(("name", "length", "test_length"), MISTAKES)
def test_a_length_that_does_not_suit_is_one_line_and_said_at_once(
    name: str, length: int, test_length: int | None
) -> None:
    data = probe(name, length, test_length=test_length)
    for ask in (lambda: class_names(data), lambda: generate(data, "test" if test_length else "train")):
        with pytest.raises(UserError) as caught:
            ask()
        assert str(caught.value) == MISTAKES[name, length, test_length]


@pytest.mark.parametrize("name", PROBES)
def test_the_shortest_length_works(name: str) -> None:
    data = probe(name, SHORTEST[name], 400)
    for split in SPLITS:
        assert {len(text.split()) for text, _ in texts_of(data, split)} == {SHORTEST[name]}


@pytest.mark.parametrize("name", PROBES)
def test_what_is_typed_and_what_is_written_agree_with_what_is_made(name: str) -> None:
    data = compose([f"data={name}", "recipe=probe"]).data
    said = expected(data)
    assert tuple(data.labels or ()) == class_names(data)
    header = (ROOT / "conf" / "data" / f"{name}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert f"Chance {said.chance:.0%}" in header
    assert re.search(rf"Bag of words (at most )?{100 * said.bag_of_words:g}%", header)
    page = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    assert re.search(rf"\| `{name}` \|.*\| {100 * said.chance:g}% \| {100 * said.bag_of_words:g}% \|", page)


@pytest.mark.slow
def test_a_gru_solves_parity_where_a_bag_of_words_is_no_better_than_chance(study: Study) -> None:
    done = study.command(
        "data=parity", "data.length=16", "data.size=4000", "recipe=probe", "logger=none", "hardware=cpu",
        "hardware.threads=1", f"results={study.results}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = study.records()
    assert record.test_accuracy is not None
    assert record.test_accuracy >= 0.95
    assert record.duplicates_train, "short strings repeat, and the record says so"
