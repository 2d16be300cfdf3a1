"""Gradient flow is what it says: exact against known spectra and PyTorch's own derivatives, and kept by the record."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.config import Cell, ModelConfig, Pooling
from bench.data.batches import Batch
from bench.models.diagnostics import Flow, gradient_flow, spectrum
from bench.models.encoder import TextClassifier
from bench.runs.decay import curve, decay_per_step, half_life, relative
from bench.runs.gradient_flow import FlowNumbers

WORDS, CLASSES, HIDDEN = 20, 3, 6
LENGTHS = [9, 1, 4, 7]


def a_network(
    cell: Cell = "rnn", *, pooling: Pooling = "last", num_layers: int = 1, bidirectional: bool = False,
    hidden: int = HIDDEN, dimension: int = 4,
) -> TextClassifier:  # fmt: skip
    model = ModelConfig(cell=cell, hidden_size=hidden, pooling=pooling, num_layers=num_layers, dropout=0.5,
                        bidirectional=bidirectional)  # fmt: skip
    vectors = torch.randn(WORDS, dimension, generator=torch.Generator().manual_seed(1))
    vectors[0] = 0
    return TextClassifier(model, hidden, vectors, trainable_vectors=True, classes=CLASSES, seed=3)


def a_batch(lengths: list[int]) -> Batch:
    draw = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, WORDS, (len(lengths), max(lengths)), generator=draw)
    sizes = torch.tensor(lengths)
    tokens = tokens * (torch.arange(max(lengths)) < sizes[:, None])
    labels = torch.randint(0, CLASSES, (len(lengths),), generator=draw)
    return Batch(tokens, sizes, labels, torch.arange(len(lengths)), torch.ones(len(lengths)))


@torch.no_grad()
def linear(matrix: Tensor, size: float = 1e-9) -> TextClassifier:
    """A tanh network whose states are so small that tanh is the identity to the last bit: a linear recurrence."""
    network = a_network(hidden=len(matrix))
    network.embedding.weight.mul_(size)
    layer = network.encoder.layers[0].forward_direction
    layer.weight_hh_l0.copy_(matrix)
    return network


def orthogonal(size: int = 12) -> Tensor:
    values = torch.empty(size, size, dtype=torch.float64)
    return torch.nn.init.orthogonal_(values, generator=torch.Generator().manual_seed(2)).float()


def flow_of(network: TextClassifier, cell: str, lengths: list[int]) -> Flow:
    return gradient_flow(network, cell, [a_batch(lengths)])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1])
def test_the_slope_of_a_linear_network_is_its_spectrum(factor: float) -> None:
    flow = flow_of(linear(factor * orthogonal()), "rnn", [60, 60, 60])
    shares = relative(flow.hidden)
    np.testing.assert_allclose(shares, np.broadcast_to(factor ** np.arange(60.0), (3, 60)), rtol=1e-4)
    decay = decay_per_step(shares)
    assert decay == pytest.approx(factor, rel=1e-6)
    assert half_life(decay) == (pytest.approx(math.log(0.5) / math.log(factor), rel=1e-4) if factor < 1 else None)
    assert flow.singular_value == pytest.approx(factor, rel=1e-6)
    assert flow.spectral_radius == pytest.approx(factor, rel=1e-6)
    assert flow.activation_derivative == pytest.approx(1.0)


def test_the_slope_follows_eigenvalues_where_singular_values_promise_more() -> None:
    basis = torch.eye(4) + torch.triu(torch.full((4, 4), 2.0), 1)
    matrix = basis @ torch.diag(torch.tensor([0.9, 0.5, 0.4, 0.3])) @ torch.linalg.inv(basis)
    flow = flow_of(linear(matrix), "rnn", [80, 80])
    assert flow.singular_value is not None
    assert flow.singular_value > 1.2
    assert flow.spectral_radius == pytest.approx(0.9, rel=1e-3)
    assert decay_per_step(relative(flow.hidden)) == pytest.approx(0.9, rel=0.01)


def test_a_tanh_network_decays_by_what_its_derivative_takes_away() -> None:
    network = linear(0.95 * orthogonal(), size=0.2)
    flow = flow_of(network, "rnn", [60] * 8)
    assert flow.activation_derivative is not None
    assert 0.8 < flow.activation_derivative < 0.999
    decay = decay_per_step(relative(flow.hidden))
    assert decay is not None
    assert decay < 0.95
    assert decay == pytest.approx(0.95 * flow.activation_derivative, rel=0.05)


@torch.no_grad()
def gated(forget: float, gates: float) -> TextClassifier:
    """An LSTM without recurrent weights whose gates are the same at every step. forget, gates: before σ."""
    network = a_network("lstm")
    layer = network.encoder.layers[0].forward_direction
    layer.weight_hh_l0.zero_()
    layer.weight_ih_l0.zero_()
    entry, forgetting, _, output = layer.bias_ih_l0.chunk(4)
    forgetting.fill_(forget)
    entry.fill_(gates)
    output.fill_(gates)
    return network


@pytest.mark.parametrize("forget", [0.0, 1.0, 4.0])
def test_the_carousel_turns_at_the_speed_of_the_forget_gate(forget: float) -> None:
    flow = flow_of(gated(forget, 0.0), "lstm", [40, 40])
    numbers = FlowNumbers.of(flow)
    speed = 1 / (1 + math.exp(-forget))
    assert numbers.carousel_decay_per_step == pytest.approx(speed, rel=1e-5)
    assert numbers.carousel_half_life_tokens == pytest.approx(math.log(0.5) / math.log(speed), rel=1e-3)
    assert np.all(flow.hidden[:, 1:] == 0), "nothing reads h but the output"
    assert numbers.gradient_decay_per_step is None


def test_saturation_counts_gates_that_are_nearly_open_or_closed() -> None:
    assert flow_of(gated(0.0, 0.0), "lstm", [5, 2]).gate_saturation == 0
    assert flow_of(gated(4.0, 0.0), "lstm", [5, 2]).gate_saturation == pytest.approx(1 / 3)
    assert flow_of(gated(4.0, -4.0), "lstm", [5, 2]).gate_saturation == 1
    assert flow_of(a_network("rnn"), "rnn", [5, 2]).gate_saturation is None


def by_pytorch(network: TextClassifier, batch: Batch) -> tuple[list[float], list[float]]:
    """‖∂L/∂h_t‖, and ‖∂L/∂c_t‖ of an LSTM, of one text from its end: PyTorch's module reads on from a cut-out state."""
    module, vectors = network.encoder.layers[0].forward_direction, network.embedding.weight[batch.tokens].detach()
    length = int(batch.lengths[0])

    def loss(time: int, hidden: Tensor, carousel: Tensor | None) -> Tensor:
        if time < length:
            _, after = module(vectors[:, time:], hidden if carousel is None else (hidden, carousel))
            hidden = after[0] if isinstance(after, tuple) else after
        return F.cross_entropy(network.output(hidden[0]), batch.labels)

    of_hidden, of_carousel = [], []
    for time in range(length, 0, -1):
        _, state = module(vectors[:, :time])
        hidden, carousel = state if isinstance(state, tuple) else (state, None)
        leaf = hidden.detach().requires_grad_()
        constant = None if carousel is None else carousel.detach()
        of_hidden.append(float(torch.autograd.grad(loss(time, leaf, constant), leaf)[0].norm()))
        if constant is not None:  # h_t = o tanh c_t: what c_t does by way of h_t belongs to it
            gate, leaf = (hidden / carousel.tanh()).detach(), constant.requires_grad_()
            total = torch.autograd.grad(loss(time, gate * leaf.tanh(), leaf), leaf)[0]
            of_carousel.append(float(total.norm()))
    return of_hidden, of_carousel


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_norms_are_pytorchs_own_derivatives(cell: Cell) -> None:
    network = a_network(cell)
    batch = a_batch([12])
    flow = gradient_flow(network, cell, [batch])
    of_hidden, of_carousel = by_pytorch(network.double(), batch)
    np.testing.assert_allclose(flow.hidden[0], of_hidden, rtol=1e-9)
    assert (flow.carousel is None) == (cell != "lstm")
    if flow.carousel is not None:
        np.testing.assert_allclose(flow.carousel[0], of_carousel, rtol=1e-9)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, False), (2, True)])
def test_distances_are_from_each_texts_own_end(
    cell: Cell, pooling: Pooling, num_layers: int, bidirectional: bool
) -> None:
    network = a_network(cell, pooling=pooling, num_layers=num_layers, bidirectional=bidirectional)
    batch = a_batch(LENGTHS)
    together = gradient_flow(network, cell, [batch])
    assert together.hidden.shape == (4, 9)
    for row, length in enumerate(LENGTHS):
        one = Batch(*(part[row : row + 1] for part in batch))
        alone = gradient_flow(network, cell, [one._replace(tokens=one.tokens[:, :length])])
        for several, single in ((together.hidden, alone.hidden), (together.carousel, alone.carousel)):
            if several is not None and single is not None:
                np.testing.assert_allclose(several[row, :length], single[0], rtol=1e-6, atol=1e-14)
                assert np.isnan(several[row, length:]).all()
    assert np.nansum(together.hidden[:, 1:]) > 0


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_batches_add_up_and_the_network_is_left_alone(cell: Cell) -> None:
    network, batch = a_network(cell), a_batch(LENGTHS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    halves = [Batch(*(part[rows] for part in batch)) for rows in (slice(0, 2), slice(2, 4))]
    halves[1] = halves[1]._replace(tokens=halves[1].tokens[:, :7])
    whole, parts = gradient_flow(network, cell, [batch]), gradient_flow(network, cell, halves)
    np.testing.assert_allclose(whole.hidden, parts.hidden, rtol=1e-12)
    assert whole.gate_saturation == parts.gate_saturation
    assert whole.activation_derivative == pytest.approx(parts.activation_derivative)
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == torch.float32 for name, value in before.items())
    assert all(weight.grad is None for weight in network.parameters())


def test_blocks_start_orthogonal() -> None:
    for cell in ("rnn", "gru", "lstm"):
        sigma, radius = spectrum(a_network(cell).encoder.layers[0].forward_direction)  # type: ignore[arg-type]
        assert sigma == pytest.approx(1, rel=1e-5)
        assert radius == pytest.approx(1, rel=1e-5)


def test_one_step_out_of_line_moves_no_slope() -> None:
    norms = 0.8 ** np.arange(50.0)
    norms[0] *= 1000  # as at the last step of an LSTM, whose h the loss reads directly
    assert decay_per_step(relative(norms[None])) == pytest.approx(0.8, rel=1e-9)


def test_what_has_underflowed_or_never_was_counts_for_nothing() -> None:
    vanishing = np.concatenate([0.1 ** np.arange(20.0), np.zeros(20)])
    assert decay_per_step(relative(vanishing[None])) == pytest.approx(0.1, rel=1e-9)
    assert len(curve(relative(vanishing[None]))) == 20
    unread = np.array([[0.0, 1.0, 1.0], [1.0, 0.5, 0.25], [1.0, 0.5, np.nan]])
    np.testing.assert_allclose(relative(unread), [[1.0, 0.5], [1.0, 0.5]])
    assert decay_per_step(relative(np.array([[0.0, 1.0]]))) is None
    assert decay_per_step(relative(np.array([[1.0]]))) is None
    assert half_life(1.01) is None


def test_a_curve_holds_quartiles_over_texts() -> None:
    rates = np.array([0.7, 0.8, 0.9])
    points = np.array(curve(relative(rates[:, None] ** np.arange(30.0))))
    np.testing.assert_allclose(points[:, 2], 0.8 ** points[:, 0], rtol=1e-3)
    quartile = partial(np.percentile, rates[:, None] ** points[:, 0], axis=0)
    np.testing.assert_allclose(points[:, 1], quartile(25), rtol=1e-3)
    np.testing.assert_allclose(points[:, 3], quartile(75), rtol=1e-3)
    assert list(asdict(FlowNumbers.of(flow_of(a_network(), "rnn", [5, 5]))).values()).count(None) == 3
