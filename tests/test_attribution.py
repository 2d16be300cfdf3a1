"""Attributions sum to what they explain, and equal the closed form where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.config import Kernel, Pooling
from bench.models.attribution import attribute, log_odds, logits_of
from bench.models.cells import CELLS
from bench.models.reading import Attribution
from tests.test_trace import TIME, TOKENS, model_of, network_of


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_of_a_linear_network_attributions_are_the_weights_times_the_vectors(output: str) -> None:
    network = network_of(model_of("bag", pooling="mean", output=output), classes=2)
    found = attribute(network, TOKENS)
    weight = network.output.weight.detach()
    direction = weight[0] if output == "sigmoid" else weight[1] - weight[0]
    direction = direction if found.target == 1 else -direction
    exact = network.embedding.weight.detach()[TOKENS] @ direction / TIME
    assert exact.abs().max() > 0.01
    np.testing.assert_allclose(found.values, exact.numpy(), rtol=0, atol=1e-5)
    assert found.steps == 32


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("kernel", ["torch", "step"])
@pytest.mark.parametrize("cell", [*CELLS, "attention"])
def test_attributions_are_complete(cell: str, kernel: Kernel, pooling: Pooling) -> None:
    model = model_of(cell, bidirectional=cell != "attention", num_layers=2, pooling=pooling)
    network = network_of(model, kernel)
    found = attribute(network, TOKENS[:12])
    assert found.values.shape == (12,)
    assert np.abs(found.values).max() > 0.01
    with torch.no_grad():
        logits = network(TOKENS[None, :12], torch.tensor([12]))
        nothing = network(torch.zeros(1, 12, dtype=torch.int64), torch.tensor([12]))
    change = float(log_odds(logits, found.target) - log_odds(nothing, found.target))
    assert found.target == int(logits.argmax())
    assert found.change == pytest.approx(change, abs=1e-4)
    assert found.complete
    assert abs(found.total - change) <= max(0.011, 0.011 * abs(change))


def test_where_a_network_is_not_smooth_the_path_is_divided() -> None:
    smooth, steep = (
        attribute(network_of(model_of(cell, pooling="last")), TOKENS[:12]) for cell in ("gru", "lstm_layernorm")
    )
    assert smooth.steps < steep.steps
    assert smooth.complete
    assert steep.complete


def test_what_vectors_give_is_what_their_tokens_give() -> None:
    network = network_of(model_of("gru", pooling="max"))
    vectors = network.embedding.weight.detach()[TOKENS][None].repeat(2, 1, 1)
    with torch.no_grad():
        executed = network(TOKENS[None].repeat(2, 1), torch.tensor([TIME, TIME]))
        torch.testing.assert_close(logits_of(network, vectors), executed)


def test_attributing_leaves_the_network_as_it_was() -> None:
    network = network_of(model_of("lstm"))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    attribute(network, TOKENS)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_log_odds_of_two_classes_are_the_difference_of_their_logits() -> None:
    logits = torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    torch.testing.assert_close(log_odds(logits, 1), torch.tensor([1.5, -2.0]))
    probabilities = torch.tensor([[0.2, 0.5, 0.3]])
    torch.testing.assert_close(log_odds(probabilities.log(), 0), torch.tensor([0.25]).log())


@pytest.mark.parametrize(("total", "complete"), [(3.0, True), (3.02, True), (3.05, False), (-3.0, False)])
def test_a_sum_beside_the_change_is_told(total: float, complete: bool) -> None:
    found = Attribution(np.array([total / 2, total / 2]), 0, log_odds=2.5, baseline_log_odds=-0.5, steps=512)
    assert found.change == 3.0
    assert found.complete is complete
