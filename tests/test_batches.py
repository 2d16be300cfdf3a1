"""Batches: reproducible, little padding, and exactly divided among processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.batches import BatchDataset, BucketSampler, Share, SortedSampler, Texts, share_of
from bench.data.module import stratified_share
from bench.data.text import PADDING, Ragged
from bench.errors import UserError


def texts_of(lengths: np.ndarray, max_length: int = 1_000) -> Texts:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(2, 2 + offsets[-1], dtype=np.int32)
    return Texts(Ragged(ids, offsets), np.arange(len(lengths)) % 3, [str(k) for k in range(len(lengths))], max_length)


def test_a_batch_holds_each_text_and_padding_after_it() -> None:
    batch = BatchDataset(texts_of(np.array([2, 4, 1])))[Share(np.array([2, 0]), np.ones(2, np.float32))]
    assert batch.tokens.tolist() == [[8, PADDING], [2, 3]]
    assert batch.lengths.tolist() == [1, 2]
    assert batch.labels.tolist() == [2, 0]


def test_long_texts_are_cut_at_max_length() -> None:
    batch = BatchDataset(texts_of(np.array([9, 2]), max_length=4))[Share(np.array([0, 1]), np.ones(2, np.float32))]
    assert batch.tokens.tolist() == [[2, 3, 4, 5], [11, 12, 0, 0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_processes_share_an_epoch_without_repeating_or_losing_a_text(
    lengths: list[int], batch_size: int, world_size: int, epoch: int
) -> None:
    seen: list[int] = []
    for rank in range(world_size):
        sampler = BucketSampler(np.array(lengths), batch_size, seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        shares = list(sampler)
        assert len(shares) == len(sampler)
        seen += [row for share in shares for row in share.rows[share.weights > 0].tolist()]
    assert sorted(seen) == list(range(len(lengths)))


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


def test_batches_are_tensors_that_an_embedding_takes() -> None:
    batch = BatchDataset(texts_of(np.array([3, 2])))[Share(np.array([0, 1]), np.ones(2, np.float32))]
    assert torch.nn.Embedding(10, 2)(batch.tokens).shape == (2, 3, 2)
