"""Traced gates and states are those of the network, under either execution, in both directions and in every layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config import Kernel, ModelConfig, Pooling
from bench.declarations import declared
from bench.models.cells import CELLS
from bench.models.encoder import TextClassifier
from bench.models.reading import LayerReading
from bench.models.trace import Calls, read, running_predictions

WIDTH, FEATURES, TIME = 6, 5, 40  # more tokens than are read together
TOKENS = torch.arange(2, TIME + 2) % 17 + 2


def network_of(model: ModelConfig, kernel: Kernel = "torch", classes: int = 3) -> TextClassifier:
    """An untrained network with no weight zero, whose answers differ from token to token."""
    torch.manual_seed(1)
    vectors = torch.randn(20, FEATURES)
    vectors[0] = 0
    network = TextClassifier(model, WIDTH, vectors, trainable_vectors=True, classes=classes, seed=3, kernel=kernel)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name != "embedding.weight":
                weight.add_(torch.empty_like(weight).uniform_(-0.4, 0.4))
            if model.cell == "rnn_relu" and "weight_hh" in name:
                weight.mul_(0.5)  # or the identity would let states grow without end
    return network.eval()


def model_of(cell: str, **keys: object) -> ModelConfig:
    return ModelConfig(cell=cell, hidden_size=WIDTH, heads=2, **{"pooling": "last", **keys})  # type: ignore[arg-type]


def by_name(layer: LayerReading) -> dict[str, np.ndarray]:
    return {part.name: part.values for part in (*layer.gates, *layer.states)}


@pytest.mark.parametrize("kernel", ["torch", "step"])
@pytest.mark.parametrize("cell", CELLS)
def test_traced_states_are_those_of_the_network_in_both_directions_and_in_every_layer(
    cell: str, kernel: Kernel
) -> None:
    model = model_of(cell, num_layers=2, bidirectional=True)
    network = network_of(model, kernel)
    layers = read(network, model, TOKENS).layers
    assert [layer.name for layer in layers] == [
        "layer 1, forward", "layer 1, backward", "layer 2, forward", "layer 2, backward"
    ]  # fmt: skip
    with torch.no_grad():
        states = network.encode(TOKENS[None], torch.tensor([TIME]))[0].numpy()
    traced = np.concatenate([layer.states[0].values for layer in layers[2:]], axis=1)
    assert np.abs(states).max() > 0.1
    np.testing.assert_allclose(traced, states, rtol=0, atol=1e-5)
    assert all(layer.difference is not None and layer.difference <= 1e-5 for layer in layers)
    for layer in layers:
        assert len(layer.states) == declared(cell).states
        for part in (*layer.gates, *layer.states):
            assert part.values.shape == (TIME, WIDTH)
            assert part.low <= part.values.min()
            assert part.values.max() <= part.high


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_gate_of_a_cell_has_a_name(cell: str) -> None:
    names = [gate.name for gate in read(network_of(model_of(cell)), model_of(cell), TOKENS).layers[0].gates]
    assert (
        sorted(names)
        == {
            "gru": ["candidate", "reset gate", "update gate"],
            "lstm": ["candidate", "forget gate", "input gate", "output gate"],
        }[cell]
    )


def test_the_gates_of_an_lstm_make_its_states() -> None:
    found = by_name(read(network_of(model_of("lstm")), model_of("lstm"), TOKENS).layers[0])
    before = np.concatenate([np.zeros((1, WIDTH), np.float32), found["cell state c"][:-1]])
    carousel = found["forget gate"] * before + found["input gate"] * found["candidate"]
    np.testing.assert_allclose(found["cell state c"], carousel, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["hidden state h"], found["output gate"] * np.tanh(carousel), rtol=0, atol=1e-6)


def test_the_gates_of_a_gru_make_its_state() -> None:
    network = network_of(model_of("gru"))
    found = by_name(read(network, model_of("gru"), TOKENS).layers[0])
    state = found["hidden state h"]
    before = np.concatenate([np.zeros((1, WIDTH), np.float32), state[:-1]])
    update = found["update gate"]
    np.testing.assert_allclose(state, (1 - update) * found["candidate"] + update * before, rtol=0, atol=1e-6)
    layer = network.encoder.layers[0].forward_direction
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    vectors = network.embedding.weight.detach().numpy()[TOKENS.numpy()]
    from_input = vectors @ weights["weight_ih_l0"][-WIDTH:].T + weights["bias_ih_l0"][-WIDTH:]
    from_state = before @ weights["weight_hh_l0"][-WIDTH:].T + weights["bias_hh_l0"][-WIDTH:]
    candidate = np.tanh(from_input + found["reset gate"] * from_state)
    np.testing.assert_allclose(found["candidate"], candidate, rtol=0, atol=1e-5)


def test_what_equations_call_is_kept_in_order_whatever_it_is_called_as() -> None:
    values = torch.linspace(-2, 2, 5)
    with Calls() as calls:
        values.sigmoid()
        torch.tanh(values)
        torch.nn.functional.relu(values)
        values.exp()
    assert [call.name for call in calls.found] == ["sigmoid", "tanh", "relu"]
    torch.testing.assert_close(calls.found[1].value, values.tanh())


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_running_prediction_is_the_classifiers_answer_to_the_states_so_far(cell: str, pooling: Pooling) -> None:
    network = network_of(model_of(cell, pooling=pooling))
    running = running_predictions(network, TOKENS)
    with torch.no_grad():
        states = network.encode(TOKENS[None], torch.tensor([TIME]))
        answers = [answer_to(network, states[:, :time]) for time in range(1, TIME + 1)]
    np.testing.assert_allclose(running, torch.cat(answers).numpy(), rtol=0, atol=1e-5)
    assert np.ptp(running, axis=0).max() > 0.05


def answer_to(network: TextClassifier, states: Tensor) -> Tensor:
    return network.output(network.pool(states, torch.tensor([states.shape[1]]))).softmax(dim=1)


@pytest.mark.parametrize("cell", ["gru", "bag", "attention"])
def test_the_last_running_prediction_is_the_prediction(cell: str) -> None:
    model = model_of(cell, bidirectional=cell == "gru", pooling="mean")
    network = network_of(model)
    with torch.no_grad():
        probabilities = network(TOKENS[None], torch.tensor([TIME])).softmax(dim=1)[0].numpy()
    found = read(network, model, TOKENS)
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=0, atol=1e-5)
    assert found.running.shape == (TIME, 3)


def test_shares_of_tokens_in_pooling_sum_to_one_where_there_are_any() -> None:
    found = {}
    for pooling in ("last", "mean", "max", "attention"):
        model = model_of("gru", pooling=pooling)
        found[pooling] = read(network_of(model), model, TOKENS).pooled
    assert found["last"] is None
    assert found["mean"] is None
    assert found["max"].sum() == pytest.approx(1)
    assert found["attention"].sum() == pytest.approx(1, abs=1e-5)
    assert len(set(found["attention"].tolist())) > 2


def test_attention_shows_which_tokens_it_reads() -> None:
    model = model_of("attention", num_layers=2, pooling="mean")
    layers = read(network_of(model), model, TOKENS).layers
    assert [layer.name for layer in layers] == ["layer 1", "layer 2"]
    for layer in layers:
        (received,) = layer.gates
        assert received.values.shape == (TIME, 2)
        np.testing.assert_allclose(received.values.sum(axis=0), 1, atol=1e-5)


def test_a_text_of_one_token_can_be_read() -> None:
    model = model_of("lstm", bidirectional=True, pooling="max")
    found = read(network_of(model), model, TOKENS[:1])
    assert found.running.shape == (1, 3)
    assert found.pooled.tolist() == [1.0]
    assert {layer.states[0].values.shape for layer in found.layers} == {(1, WIDTH)}
