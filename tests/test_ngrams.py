"""n-grams as a network: exact under padding, the features of scikit-learn, its logistic regression."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from bench.data.batches import Texts
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings
from bench.errors import UserError
from bench.models import ngrams as counting
from bench.models.ngrams import NgramClassifier, count_ngrams, ngram_keys, without_weights
from bench.models.regression import UNSEEN, feature_matrix, solutions, take_over
from tests.test_padding import WORDS, batch_of, texts_strategy

Rows = list[list[int]]


def texts_of(rows: Rows, labels: list[int] | None = None) -> Texts:
    """Texts whose tokens are these vector rows."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Texts(
        words=Ragged.of(np.concatenate(rows).astype(np.int32), offsets),
        vector_rows=np.arange(WORDS, dtype=np.int32),
        labels=np.array(labels or [0] * len(rows)),
        names=Strings.of(()),
        max_length=100,
        truncation="head",
        numbers=np.arange(len(rows)),
    )


def drawn(texts: int, classes: int) -> tuple[Rows, list[int]]:
    """Texts in which some words, and one bigram, go with a class."""
    random = np.random.default_rng(3)
    labels = [number % classes for number in range(texts)]
    rows = [random.integers(1, 20, random.integers(1, 15)).tolist() for _ in labels]
    return [[*row, 20 + label, 25, 26 + label % 2] for row, label in zip(rows, labels, strict=True)], labels


def grams(row: list[int], longest: int) -> list[tuple[int, ...]]:
    return [tuple(row[at : at + n]) for n in range(1, longest + 1) for at in range(len(row) - n + 1)]


def trained(rows: Rows, labels: list[int], classes: int, longest: int = 2, strength: float = 3.0) -> NgramClassifier:
    texts = texts_of(rows, labels)
    network = without_weights(texts, longest, 1, WORDS, classes)
    (solution,) = solutions(feature_matrix(network, texts), texts.labels, classes, [strength])
    take_over(network, solution)
    return network


@settings(max_examples=60, deadline=None)
@given(texts=texts_strategy, longest=st.integers(1, 4), padding=st.integers(0, 5))
def test_keys_are_those_of_all_ngrams_and_of_nothing_else(texts: Rows, longest: int, padding: int) -> None:
    numbers, keys = ngram_keys(*batch_of(texts, padding), longest, WORDS)
    expected = [
        (number, sum(row * WORDS**place for place, row in enumerate(reversed(gram))))
        for number, text in enumerate(texts)
        for gram in grams(text, longest)
    ]
    assert Counter(zip(numbers.tolist(), keys.tolist(), strict=True)) == Counter(expected)


@settings(max_examples=60, deadline=None)
@given(texts=texts_strategy, longest=st.integers(1, 4))
def test_every_ngram_is_counted_once_a_text(texts: Rows, longest: int) -> None:
    keys, counts = count_ngrams(texts_of(texts), longest, WORDS)
    expected = Counter(gram for text in texts for gram in set(grams(text, longest)))
    assert (np.diff(keys) > 0).all()
    assert sorted(counts.tolist()) == sorted(expected.values())
    assert len(keys) == len(expected)


def test_counts_add_up_however_many_wait_to_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(drawn(90, 3)[0])
    whole = count_ngrams(texts, 2, WORDS)
    monkeypatch.setattr(counting, "_BATCH", 7)
    monkeypatch.setattr(counting, "_PENDING", 10)
    for one, other in zip(whole, count_ngrams(texts, 2, WORDS), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(texts=texts_strategy, padding=st.integers(0, 6), longest=st.integers(1, 3))
def test_padding_and_company_change_no_logit(texts: Rows, padding: int, longest: int) -> None:
    network = trained(*drawn(60, 3), classes=3, longest=longest).double()
    together = network(*batch_of(texts, padding))
    alone = torch.cat([network(*batch_of([text], 0)) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("minimum_texts", [1, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_scikit_learns_own_pipeline(classes: int, minimum_texts: int) -> None:
    rows, labels = drawn(120, classes)
    others = [[1, 2, 3], [29, 29], *drawn(40, 3)[0][20:]]
    words = [" ".join(map(str, row)) for row in rows]
    theirs = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=minimum_texts)
    matrix = theirs.fit_transform(words)
    regression = LogisticRegression(C=10.0, tol=1e-8, max_iter=2000).fit(matrix, labels)
    expected = regression.predict_proba(theirs.transform([" ".join(map(str, row)) for row in others]))

    texts = texts_of(rows, labels)
    network = without_weights(texts, 2, minimum_texts, WORDS, classes)
    assert len(network.keys) == matrix.shape[1]
    (solution,) = solutions(feature_matrix(network, texts), texts.labels, classes, [10.0])
    take_over(network, solution)
    found = network(*batch_of(others, 3)).softmax(dim=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)
    assert np.ptp(expected, axis=0).min() > 0.2


def test_bigrams_tell_apart_what_words_cannot() -> None:
    rows = [[*([5] * (number % 3)), *((7, 8) if number % 2 else (8, 7))] for number in range(60)]
    labels = [number % 2 for number in range(60)]
    for longest, told in ((1, False), (2, True)):
        network = trained(rows, labels, classes=2, longest=longest, strength=100.0)
        found = network(*batch_of([[7, 8], [8, 7]], 0)).argmax(dim=1).tolist()
        assert (found == [1, 0]) is told


def test_a_text_of_unknown_words_gets_what_the_bias_says() -> None:
    network = trained(*drawn(90, 3), classes=3)
    assert not {28, 29} & {int(key) for key in network.keys}
    logits = network(*batch_of([[29], [28, 29, 28]], 0))
    torch.testing.assert_close(logits, network.bias.expand(2, 3))


@pytest.mark.parametrize("seen", [(0, 2), (0, 1, 3)])
def test_a_class_without_training_texts_is_never_chosen(seen: tuple[int, ...]) -> None:
    rows, labels = drawn(90, len(seen))
    network = trained(rows, [seen[label] for label in labels], classes=4)
    probabilities = network(*batch_of(rows, 0)).softmax(dim=1)
    assert (probabilities.argmax(dim=1).numpy() == np.array(seen)[labels]).mean() > 0.95
    missing = sorted({0, 1, 2, 3} - set(seen))
    assert (network.bias[missing] == UNSEEN).all()
    assert probabilities[:, missing].max().item() < 1e-4


def test_one_search_goes_on_from_the_last_and_gives_what_a_fresh_one_gives() -> None:
    rows, labels = drawn(90, 3)
    texts = texts_of(rows, labels)
    matrix = feature_matrix(without_weights(texts, 2, 1, WORDS, 3), texts)
    *_, after_another = solutions(matrix, texts.labels, 3, [0.1, 1.0])
    (fresh,) = solutions(matrix, texts.labels, 3, [1.0])
    for one, other in zip(after_another, fresh, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_ngrams_that_cannot_be_had_are_refused_in_one_line() -> None:
    texts = texts_of([[1], [2], [3]])
    with pytest.raises(UserError, match=r"no word stands in so many of the 3 training texts; use model\.min\w+=1$"):
        without_weights(texts, 2, 2, WORDS, 2)
    with pytest.raises(UserError, match=r"model\.ngrams=4: 100,000 words have more such n-grams .* model\.ngrams=3"):
        NgramClassifier(4, 100_000, 2, 1)
