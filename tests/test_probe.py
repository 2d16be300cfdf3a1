"""What runs is named, and how fast texts are labelled is measured as training is: same kernel, same precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bench
from bench.config import ModelConfig
from bench.models.encoder import TextClassifier, build_encoder
from bench.runs.probe import THROUGHPUT_BATCH, full_batches, inference_speed, operators_of, single_texts
from tests.conftest import Study
from tests.test_batches import texts_of

CPU = torch.device("cpu")
INPUTS, HIDDEN = 3, 4


def encoder_of(cell: str, kernel: str = "torch", **settings: object) -> nn.Module:
    model = ModelConfig(cell=cell, hidden_size=HIDDEN, heads=2, dropout=0.5, num_layers=2, **settings)  # type: ignore[arg-type]
    return build_encoder(model, INPUTS, HIDDEN, kernel)  # type: ignore[arg-type]


def network_of(cell: str) -> TextClassifier:
    model = ModelConfig(cell=cell, hidden_size=HIDDEN)  # type: ignore[arg-type]
    return TextClassifier(model, HIDDEN, torch.ones(5000, INPUTS), trainable_vectors=True, classes=3, seed=0)


# -- operators -------------------------------------------------------------------------------------------------------


def test_pytorchs_own_execution_is_named() -> None:
    assert {"mkldnn_rnn_layer", "mkldnn_rnn_layer_backward"} <= {*operators_of(encoder_of("lstm"), INPUTS, CPU)}
    gru = operators_of(encoder_of("gru"), INPUTS, CPU)
    assert {"sigmoid_backward", "tanh_backward"} <= {*gru}
    assert not any("mkldnn_rnn" in name or "::" in name for name in gru)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_our_own_execution_is_named_with_its_library(cell: str) -> None:
    ours = [name for name in operators_of(encoder_of(cell, "step"), INPUTS, CPU) if name.startswith("bench::")]
    assert any("forward" in name for name in ours)
    assert any("backward" in name for name in ours)


def test_an_encoder_that_does_nothing_dispatches_nothing() -> None:
    assert operators_of(encoder_of("bag"), INPUTS, CPU) == []


@pytest.mark.parametrize(("cell", "kernel"), [("gru", "torch"), ("gru", "step"), ("attention", "torch")])
def test_looking_leaves_the_encoder_as_it_was(cell: str, kernel: str) -> None:
    encoder = encoder_of(cell, kernel)
    dropout = next(module for module in encoder.modules() if isinstance(module, nn.Dropout))
    dropout.eval()
    random = torch.get_rng_state()
    found = operators_of(encoder, INPUTS, CPU)
    assert found == sorted(set(found))
    assert not any("dropout" in name or "bernoulli" in name for name in found)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module for module in encoder.modules() if not module.training] == [dropout]
    assert all(weight.grad is None for weight in encoder.parameters())


def test_frozen_weights_and_the_precision_of_training_are_seen() -> None:
    encoder = encoder_of("attention")
    assert "_to_copy" not in operators_of(encoder, INPUTS, CPU)
    assert "_to_copy" in operators_of(encoder, INPUTS, CPU, autocast)
    encoder.requires_grad_(False)
    assert "native_layer_norm_backward" in operators_of(encoder, INPUTS, CPU)


def autocast() -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16)


# -- speed of inference ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=600))
def test_full_batches_cover_a_split_evenly_the_longest_texts_first(lengths: list[int]) -> None:
    batches = full_batches(texts_of(np.array(lengths)))
    assert [len(batch.rows) for batch in batches] == [THROUGHPUT_BATCH] * -(-len(lengths) // THROUGHPUT_BATCH)
    rows = torch.cat([batch.rows for batch in batches]).numpy()
    counts = np.bincount(rows, minlength=len(lengths))
    assert counts.max() - counts.min() <= 1
    assert (np.diff(np.array(lengths)[rows]) <= 0).all()


def test_of_a_large_split_some_batches_stand_for_all() -> None:
    lengths = np.arange(4000) // 10 + 1
    batches = full_batches(texts_of(lengths))
    assert len(batches) == 8
    means = [batch.lengths.float().mean().item() for batch in batches]
    assert means == sorted(means, reverse=True)
    assert np.mean(means) == pytest.approx(np.mean(lengths), rel=0.01)


def test_single_texts_are_some_of_a_split_evenly() -> None:
    singles = single_texts(texts_of(np.full(1000, 2)))
    assert [len(batch.rows) for batch in singles] == [1] * 60
    rows = [int(batch.rows) for batch in singles]
    assert (rows[0], rows[-1]) == (0, 999)
    assert rows == sorted(set(rows))


def test_batches_label_more_texts_a_second_than_single_texts_do() -> None:
    speed = inference_speed(network_of("gru"), texts_of(np.full(300, 5)), CPU)
    assert 0 < speed.inference_milliseconds_p50 <= speed.inference_milliseconds_p95
    assert speed.inference_samples_per_second > 1e3 / speed.inference_milliseconds_p50


def test_texts_are_labelled_in_the_precision_of_training() -> None:
    network, seen = network_of("attention"), set()
    network.output.register_forward_hook(lambda layer, inputs, logits: seen.add((logits.dtype, network.training)))
    inference_speed(network, texts_of(np.full(3, 2)), CPU, autocast)
    assert seen == {(torch.bfloat16, False)}


def test_a_run_records_what_ran_and_how_fast(study: Study) -> None:
    record = bench.run(study.overrides("model=lstm", "model.kernel=torch"))
    assert record.kernel_operators is not None
    assert "mkldnn_rnn_layer" in record.kernel_operators
    assert record.inference_samples_per_second is not None
    assert record.inference_milliseconds_p95 is not None
    assert record.inference_milliseconds_p50 is not None
    assert record.inference_milliseconds_p95 >= record.inference_milliseconds_p50 > 0
    assert record.flops_per_token is not None
    assert record.padded_tokens_per_second is not None
    assert record.achieved_flops_per_second == pytest.approx(
        3 * record.flops_per_token * record.padded_tokens_per_second
    )
