"""The batch a text sits in, and the padding added to it, change no logit beyond float rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.config import ModelConfig
from bench.models.cells import CELLS
from bench.models.encoder import TextClassifier, reverse_within
from tests.executions import EXECUTIONS, execution, kernel_of

WORDS = 30
ALL_EXECUTIONS = pytest.mark.parametrize("name", EXECUTIONS)


def classifier(cell: str, pooling: str, bidirectional: bool, num_layers: int, name: str) -> TextClassifier:
    model = ModelConfig(
        cell=cell, hidden_size=5, num_layers=num_layers, bidirectional=bidirectional, pooling=pooling, dropout=0.5
    )  # type: ignore[arg-type]
    vectors = torch.randn(WORDS, 4, generator=torch.Generator().manual_seed(1))
    vectors[0] = 0
    network = TextClassifier(model, 5, vectors, trainable_vectors=True, classes=3, seed=2, kernel=kernel_of(name))
    return network.double().eval()


def batch_of(texts: list[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, texts)) + padding
    tokens = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    return tokens, torch.tensor([len(text) for text in texts])


texts_strategy = st.lists(st.lists(st.integers(1, WORDS - 1), min_size=1, max_size=12), min_size=1, max_size=5)


@ALL_EXECUTIONS
@settings(max_examples=100, deadline=None)
@given(
    texts=texts_strategy,
    padding=st.integers(0, 6),
    cell=st.sampled_from(sorted(CELLS)),
    pooling=st.sampled_from(["last", "mean", "max", "attention"]),
    bidirectional=st.booleans(),
    num_layers=st.integers(1, 3),
)
def test_padding_and_company_change_no_logit(
    name: str, texts: list[list[int]], padding: int, cell: str, pooling: str, bidirectional: bool, num_layers: int
) -> None:
    network = classifier(cell, pooling, bidirectional, num_layers, name)
    with execution(name):
        together = network(*batch_of(texts, padding))
        alone = torch.cat([network(*batch_of([text], 0)) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@ALL_EXECUTIONS
@settings(max_examples=40, deadline=None)
@given(
    texts=texts_strategy,
    cell=st.sampled_from(sorted(CELLS)),
    pooling=st.sampled_from(["last", "mean", "max", "attention"]),
)
def test_padding_changes_no_gradient(name: str, texts: list[list[int]], cell: str, pooling: str) -> None:
    gradients = []
    for padding in (0, 7):
        network = classifier(cell, pooling, bidirectional=True, num_layers=2, name=name)
        with execution(name):
            network(*batch_of(texts, padding)).square().sum().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-11)


def test_each_text_is_reversed_within_its_own_length() -> None:
    values = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [0.0]]])
    reversed_values = reverse_within(values, torch.tensor([3, 2]))
    assert reversed_values.squeeze(2).tolist() == [[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]]


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", CELLS)
def test_the_backward_direction_is_the_forward_one_on_turned_texts(cell: str, name: str) -> None:
    layer = classifier(cell, "last", bidirectional=True, num_layers=1, name=name).encoder.layers[0]
    layer.forward_direction.load_state_dict(layer.backward_direction.state_dict())
    inputs, lengths = torch.randn(2, 6, 4, dtype=torch.float64), torch.tensor([6, 6])
    with execution(name):
        states, turned = layer(inputs, lengths), layer(inputs.flip(1), lengths)
    torch.testing.assert_close(states[:, :, 5:], turned[:, :, :5].flip(1), rtol=0, atol=1e-12)


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", [cell for cell, kind in CELLS.items() if kind.module is not None])
def test_the_backward_direction_is_pytorchs_on_unpadded_texts(cell: str, name: str) -> None:
    network = classifier(cell, "last", bidirectional=True, num_layers=1, name=name)
    layer = network.encoder.layers[0]
    both = CELLS[cell].module(4, 5, batch_first=True, bidirectional=True).double()
    weights = {f"{name}": value for name, value in layer.forward_direction.state_dict().items()}
    weights |= {f"{name}_reverse": value for name, value in layer.backward_direction.state_dict().items()}
    both.load_state_dict(weights)
    inputs = torch.randn(2, 6, 4, dtype=torch.float64)
    expected, _ = both(inputs)
    with execution(name):
        states = layer(inputs, torch.tensor([6, 6]))
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", CELLS)
def test_what_lies_at_padding_reaches_nothing_and_receives_nothing(cell: str, name: str) -> None:
    layer = classifier(cell, "last", bidirectional=True, num_layers=1, name=name).encoder.layers[0]
    lengths, valid = torch.tensor([3, 1]), torch.tensor([[1.0, 1, 1, 0, 0], [1, 0, 0, 0, 0]])[:, :, None]
    values = torch.randn(2, 5, 4, dtype=torch.float64)
    found = []
    for at_padding in (0.0, 1e6):
        inputs = torch.where(valid == 1, values, at_padding).requires_grad_()
        with execution(name):
            states = layer(inputs, lengths) * valid
            (gradient,) = torch.autograd.grad(states.square().sum(), inputs)
        assert not gradient[valid.expand_as(gradient) == 0].any()
        found.append((states, gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_one_logit_stands_for_two_classes() -> None:
    model = ModelConfig(cell="gru", hidden_size=5, output="sigmoid")
    network = TextClassifier(model, 5, torch.randn(WORDS, 4), trainable_vectors=True, classes=2, seed=0)
    logits = network(*batch_of([[3, 4, 5], [6]], 0))
    single = network.output(network.pool(network.encode(*batch_of([[3, 4, 5], [6]], 0)), torch.tensor([3, 1])))
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], torch.sigmoid(single))
