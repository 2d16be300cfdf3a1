"""Batches: reproducible, little padding, and exactly divided among processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config import DataConfig
from bench.data.batches import BatchDataset, BucketSampler, Share, SortedSampler, Texts, share_of
from bench.data.module import PreparedData, nested_share, prepare, stratified_share
from bench.data.sources import Corpus, Split
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings
from bench.data.tokens.vocabulary import PADDING
from bench.errors import UserError

Truncation = Literal["head", "tail", "both"]


def texts_of(
    lengths: np.ndarray, max_length: int = 1_000, truncation: Truncation = "head", shuffle_seed: int | None = None
) -> Texts:
    """Every token of all texts is another one: 2, 3, 4, …"""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Texts(
        words=Ragged.of(np.arange(offsets[-1], dtype=np.int32), offsets),
        vector_rows=np.arange(2, 2 + offsets[-1], dtype=np.int32),
        labels=np.arange(len(lengths)) % 3,
        names=Strings.of(map(str, range(len(lengths)))),
        max_length=max_length,
        truncation=truncation,
        numbers=np.arange(len(lengths)),
        shuffle_seed=shuffle_seed,
    )


def read(texts: Texts, rows: Sequence[int]) -> list[list[int]]:
    """The tokens of some texts as a batch has them, without its padding, which is all behind them."""
    batch = BatchDataset(texts)[Share(np.array(rows), np.ones(len(rows), np.float32))]
    for tokens, length in zip(batch.tokens, batch.lengths.tolist(), strict=True):
        assert (tokens[:length] != PADDING).all()
        assert (tokens[length:] == PADDING).all()
    return [tokens[:length].tolist() for tokens, length in zip(batch.tokens, batch.lengths.tolist(), strict=True)]


def test_a_batch_holds_each_text_and_padding_after_it() -> None:
    batch = BatchDataset(texts_of(np.array([2, 4, 1])))[Share(np.array([2, 0]), np.ones(2, np.float32))]
    assert batch.tokens.tolist() == [[8, PADDING], [2, 3]]
    assert batch.lengths.tolist() == [1, 2]
    assert batch.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("truncation", "max_length", "kept"),
    [
        ("head", 4, [2, 3, 4, 5]), ("tail", 4, [7, 8, 9, 10]), ("both", 4, [2, 3, 9, 10]),
        ("both", 5, [2, 3, 4, 9, 10]), ("both", 1, [2]), ("tail", 1, [10]), ("both", 8, [2, 3, 4, 5, 7, 8, 9, 10]),
        ("both", 9, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)  # fmt: skip
def test_long_texts_are_cut_at_max_length(truncation: Truncation, max_length: int, kept: list[int]) -> None:
    texts = texts_of(np.array([9, 1]), max_length, truncation)
    assert read(texts, [0, 1]) == [kept, [11]]
    assert texts.lengths.tolist() == [len(kept), 1]


lengths_of_texts = st.lists(st.integers(1, 30), min_size=1, max_size=12).map(np.array)
truncations = st.sampled_from(["head", "tail", "both"])


@settings(max_examples=80, deadline=None)
@given(lengths_of_texts, st.integers(1, 34), truncations, st.data())
def test_what_is_kept_of_a_text_is_so_many_tokens_from_its_ends_in_any_subset(
    lengths: np.ndarray, most: int, truncation: Truncation, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))
    whole = texts_of(lengths)
    expected = []
    for text in read(whole, rows):
        start, end = {"head": (most, 0), "tail": (0, most), "both": (-(-most // 2), most // 2)}[truncation]
        expected.append(text if len(text) <= most else text[:start] + text[len(text) - end :])
    part = texts_of(lengths, most, truncation).subset(np.array(rows))
    assert read(part, range(len(rows))) == expected
    assert list(part.names) == [str(row) for row in rows]
    assert part.lengths.tolist() == [len(text) for text in expected]


@settings(max_examples=80, deadline=None)
@given(lengths_of_texts, st.integers(1, 34), truncations, st.integers(0, 2**63 - 1), st.data())
def test_shuffled_texts_hold_the_words_that_are_kept_in_one_order_whatever_batch_they_are_in(
    lengths: np.ndarray, most: int, truncation: Truncation, seed: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))
    ordered, shuffled = (texts_of(lengths, most, truncation, shuffle_seed) for shuffle_seed in (None, seed))
    found = read(shuffled, rows)
    assert [sorted(text) for text in found] == read(ordered, rows)
    assert found == [text for row in rows for text in read(shuffled, [row])]
    assert found == read(shuffled.subset(np.array(rows)), range(len(rows)))


def test_the_order_of_shuffled_words_is_the_seeds_and_another_for_each_text() -> None:
    lengths = np.full(40, 50)

    def orders(seed: int) -> list[tuple[int, ...]]:
        found = read(texts_of(lengths, shuffle_seed=seed), range(40))
        return [tuple(np.argsort(text).tolist()) for text in found]

    assert orders(1) == orders(1)
    assert len(set(orders(1))) == 40
    assert not set(orders(1)) & set(orders(2))


def test_every_order_of_three_words_is_as_frequent_as_any_other() -> None:
    texts = texts_of(np.full(6_000, 3), shuffle_seed=5)
    orders = [tuple(np.argsort(text).tolist()) for text in read(texts, range(6_000))]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 20.5, "chi-squared, 5 degrees of freedom, at 0.1%"


SEEN = "more topic3 and topic0 more topic1"  # words of the training part


def test_shuffling_reaches_every_split_and_changes_neither_labels_nor_lengths_nor_vocabulary() -> None:
    one, other = (prepared_data(corpus_of(200, SEEN), shuffle_words=shuffle) for shuffle in (False, True))
    assert one.vocabulary.words == other.vocabulary.words
    for part in ("train", "validation", "test"):
        before, after = getattr(one, part), getattr(other, part)
        rows = range(len(before))
        assert list(before.names) == list(after.names)
        np.testing.assert_array_equal(before.labels, after.labels)
        assert [sorted(text) for text in read(before, rows)] == [sorted(text) for text in read(after, rows)]
        assert read(before, rows) != read(after, rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_an_epoch_without_repeating_or_losing_a_text(
    lengths: list[int], batch_size: int, world_size: int, epoch: int
) -> None:
    samplers = [BucketSampler(np.array(lengths), batch_size, 3, rank, world_size) for rank in range(world_size)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    whole = BucketSampler(np.array(lengths), batch_size, 3)
    whole.set_epoch(epoch)
    assert whole_batches(samplers) == [sorted(batch.tolist()) for batch in whole.batches()]
    assert sorted(row for batch in whole.batches() for row in batch.tolist()) == list(range(len(lengths)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 20), st.integers(1, 4))
def test_processes_share_an_evaluation_without_repeating_or_losing_a_text(
    lengths: list[int], batch_size: int, world_size: int
) -> None:
    samplers = [SortedSampler(np.array(lengths), batch_size, rank, world_size) for rank in range(world_size)]
    alone = SortedSampler(np.array(lengths), batch_size)
    assert whole_batches(samplers) == [sorted(share.rows.tolist()) for share in alone]
    assert sorted(row for batch in whole_batches(samplers) for row in batch) == list(range(len(lengths)))


def whole_batches(samplers: Sequence[BucketSampler | SortedSampler]) -> list[list[int]]:
    """What the processes see together, step by step; all of them take the same number of steps, none without a row."""
    steps = list(zip(*samplers, strict=True))
    assert {len(sampler) for sampler in samplers} == {len(steps)}
    for shares in steps:
        assert all(len(share.rows) == len(share.weights) > 0 for share in shares)
        assert np.concatenate([share.weights for share in shares]).sum() == pytest.approx(len(samplers))
    return [sorted(row for share in shares for row in share.rows[share.weights > 0].tolist()) for shares in steps]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6))
def test_averaging_over_processes_gives_the_mean_over_the_batch(size: int, world_size: int) -> None:
    losses = np.linspace(0.5, 2, size)
    shares = [share_of(np.arange(size), rank, world_size) for rank in range(world_size)]
    average = np.mean([(losses[share.rows] * share.weights).sum() for share in shares])
    assert average == pytest.approx(losses.mean())


def test_the_order_is_the_seeds_and_the_epochs() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)

    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = BucketSampler(lengths, 16, seed)
        sampler.set_epoch(epoch)
        return [batch.tolist() for batch in sampler.batches()]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_bucketing_leaves_little_padding() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 0.7, 4_000).astype(int) + 1

    def padding(batches: list[np.ndarray]) -> float:
        cells = sum(lengths[batch].max() * len(batch) for batch in batches)
        return 1 - lengths.sum() / cells

    shuffled = np.random.default_rng(1).permutation(len(lengths))
    assert padding(BucketSampler(lengths, 32, 0).batches()) < 0.1
    assert padding(np.array_split(shuffled, 125)) > 0.4


def test_evaluation_reads_every_text_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 53)
    rows = np.concatenate([share.rows for share in SortedSampler(lengths, 8)])
    assert sorted(rows.tolist()) == list(range(53))


def test_the_validation_tenth_is_stratified_and_the_seeds() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    chosen = stratified_share(labels, 0.1, seed=4)
    assert np.bincount(labels[chosen]).tolist() == [10, 5, 1]
    np.testing.assert_array_equal(chosen, stratified_share(labels, 0.1, seed=4))
    assert (chosen != stratified_share(labels, 0.1, seed=5)).any()


def test_a_class_with_a_single_text_cannot_be_split() -> None:
    with pytest.raises(UserError, match="class 1 has a single training text"):
        stratified_share(np.array([0, 0, 1]), 0.1, seed=0)


labelled = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)
shares = st.floats(0.001, 1)


@settings(max_examples=100, deadline=None)
@given(labelled, shares, shares, st.integers(0, 5))
def test_what_a_small_share_of_the_training_texts_holds_a_larger_one_holds_too(
    labels: np.ndarray, one: float, other: float, seed: int
) -> None:
    small, large = (nested_share(labels, fraction, seed) for fraction in sorted((one, other)))
    assert not (small & ~large).any()
    for label in np.unique(labels):
        size = int((labels == label).sum())
        assert small[labels == label].sum() == max(1, round(min(one, other) * size))
    assert nested_share(labels, 1.0, seed).all()


def test_which_texts_are_used_is_the_seeds_and_no_other_draws() -> None:
    labels = np.arange(200) % 3
    chosen = nested_share(labels, 0.5, seed=4)
    np.testing.assert_array_equal(chosen, nested_share(labels, 0.5, seed=4))
    assert (chosen != nested_share(labels, 0.5, seed=5)).any()
    assert (chosen != stratified_share(labels, 0.5, seed=4)).any()


def corpus_of(texts: int, test: str = "goal of the day") -> Corpus:
    """Four classes, a word of its own in each text; no dev split, so that one is set aside."""
    lines = [f"word{row} topic{row % 4} and more" for row in range(texts)]
    splits = {
        "train": Split(lines, np.arange(texts) % 4, [str(row) for row in range(texts)]),
        "test": Split([test] * 8, np.arange(8) % 4, [str(row) for row in range(8)]),
    }
    names = tuple("abcd")
    return Corpus("made", splits, names, hashlib.sha256(repr(splits).encode()).hexdigest()[:16], "made", None)


def prepared_data(corpus: Corpus, **keys: object) -> PreparedData:
    return prepare(corpus, DataConfig(name="made", max_length=9, **keys), seed=3)  # type: ignore[arg-type]


def test_a_share_of_the_training_texts_leaves_validation_and_test_whole_and_chooses_the_vocabulary() -> None:
    whole, part = prepared_data(corpus_of(200)), prepared_data(corpus_of(200), train_fraction=0.2)
    assert (len(whole.train), len(part.train)) == (180, 36)
    assert np.bincount(part.train.labels).tolist() == [9, 9, 9, 9]
    assert list(part.validation.names) == list(whole.validation.names)
    assert part.test is not None
    assert list(part.test.names) == list(whole.test.names)  # type: ignore[union-attr]
    assert set(part.train.names) < set(whole.train.names)
    assert {word for word in part.vocabulary.words if word.startswith("word")} == {
        f"word{name}" for name in part.train.names
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_tenth_of_the_training_texts_lies_inside_the_fifth_where_validation_is_set_aside(seed: int) -> None:
    fractions = (0.1, 0.2, 0.5, 1.0)
    parts = [prepare(corpus_of(200), DataConfig(name="made", train_fraction=fraction), seed) for fraction in fractions]
    names = [set(part.train.names) for part in parts]
    assert [len(part) for part in names] == [16, 36, 88, 180]
    assert names[0] < names[1] < names[2] < names[3]
    for part in parts:
        assert not set(part.validation.names) & names[3], "no text both trains and validates"
        assert set(part.validation.names) == set(parts[0].validation.names)


def test_the_whole_share_changes_nothing() -> None:
    one, other = prepared_data(corpus_of(90)), prepared_data(corpus_of(90), train_fraction=1.0)
    assert list(one.train.names) == list(other.train.names)
    assert read(one.train, range(81)) == read(other.train, range(81))
    assert one.vocabulary.words == other.vocabulary.words


def test_a_test_split_that_is_not_to_be_read_leaves_no_trace_in_what_a_run_sees() -> None:
    seen = [prepared_data(corpus_of(60, test), use_test=False) for test in ("goal of the day", "word1 word2 topic0")]
    for prepared in seen:
        assert prepared.test is None
        assert not {"goal", "day"} & set(prepared.vocabulary.words)
    for part in ("train", "validation"):
        one, other = (getattr(prepared, part) for prepared in seen)
        assert read(one, range(len(one))) == read(other, range(len(other)))
    assert seen[0].vocabulary.words == seen[1].vocabulary.words
    assert prepared_data(corpus_of(60)).test is not None


def test_batches_are_tensors_that_an_embedding_takes() -> None:
    batch = BatchDataset(texts_of(np.array([3, 2])))[Share(np.array([0, 1]), np.ones(2, np.float32))]
    assert torch.nn.Embedding(10, 2)(batch.tokens).shape == (2, 3, 2)
