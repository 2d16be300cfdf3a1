"""The equations in `cells.py` and PyTorch's modules say the same, and so do the closed formulas and real sizes."""

from __future__ import annotations

import pytest
import torch

from bench.config import Kernel, ModelConfig
from bench.declarations import declared
from bench.models.cells import CELLS, initialise
from bench.models.encoder import TextClassifier
from bench.models.kernels.layers import EquationLayer, build_direction
from bench.models.sizes import GATES, flops_per_token, matched_width, recurrent_parameters, sizes_of
from tests.executions import EXECUTIONS, execution, kernel_of


@pytest.mark.parametrize("name", EXECUTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_execution_follows_the_equations(cell: str, name: str) -> None:
    torch.manual_seed(0)
    module = build_direction(cell, kernel_of(name), 5, 7).double()
    for weight in module.parameters():
        torch.nn.init.uniform_(weight, -0.5, 0.5)
    inputs = torch.randn(3, 11, 5, dtype=torch.float64)
    with execution(name):
        executed = module(inputs)[0] if name == "torch" else module(inputs, torch.tensor([11, 11, 11]))
    equations = EquationLayer(cell, 5, 7).double()
    equations.load_state_dict(module.state_dict())
    states, _ = equations(inputs)
    assert states.abs().min() > 0 or cell == "rnn_relu"
    torch.testing.assert_close(executed, states, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_an_equation_goes_on_from_the_state_that_it_left(cell: str) -> None:
    torch.manual_seed(0)
    layer = EquationLayer(cell, 5, 7).double()
    for weight in layer.parameters():
        torch.nn.init.uniform_(weight, -0.5, 0.5)
    inputs = torch.randn(3, 11, 5, dtype=torch.float64)
    whole, last = layer(inputs)
    first, state = layer(inputs[:, :4])
    rest, after = layer(inputs[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(after, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kernel", ["torch", "step"])
@pytest.mark.parametrize("cell", CELLS)
def test_closed_formulas_count_every_parameter(
    cell: str, kernel: Kernel, num_layers: int, bidirectional: bool, output: str, pooling: str
) -> None:
    model = ModelConfig(
        cell=cell, hidden_size=6, num_layers=num_layers, bidirectional=bidirectional, pooling=pooling, output=output
    )  # type: ignore[arg-type]
    network = TextClassifier(model, 6, torch.zeros(9, 4), trainable_vectors=True, classes=2, seed=0, kernel=kernel)
    sizes = sizes_of(model, 6, rows=9, dimension=4, classes=2)
    assert sizes.total == sum(weight.numel() for weight in network.parameters())
    assert sizes.recurrent == sum(weight.numel() for weight in network.encoder.parameters())


def test_published_counts() -> None:
    counts = {cell: recurrent_parameters(GATES[cell], 100, 128) for cell in ("rnn", "gru", "lstm")}
    assert counts == {"rnn": 29_440, "gru": 88_320, "lstm": 117_760}
    assert flops_per_token(GATES["gru"], 100, 128) == 6 * 128 * (100 + 128)


def test_flops_follow_depth_and_direction() -> None:
    one = flops_per_token(3, 10, 8)
    assert flops_per_token(3, 10, 8, bidirectional=True) == 2 * one
    assert flops_per_token(3, 10, 8, num_layers=2) == one + 6 * 8 * (8 + 8)


def test_matched_width_comes_nearest_to_the_lstm() -> None:
    gru = ModelConfig(cell="gru", hidden_size=256, match="parameters")
    assert matched_width(gru, 300) == 311
    assert recurrent_parameters(3, 300, 311) == 571_929
    assert recurrent_parameters(4, 300, 256) == 571_392
    target = recurrent_parameters(4, 300, 256)
    distances = {width: abs(recurrent_parameters(3, 300, width) - target) for width in range(300, 320)}
    assert min(distances, key=lambda width: distances[width]) == 311


def test_width_stays_as_given_unless_parameters_are_matched() -> None:
    assert matched_width(ModelConfig(cell="gru", hidden_size=64), 100) == 64
    assert matched_width(ModelConfig(cell="lstm", hidden_size=64, match="parameters"), 100) == 64


@pytest.mark.parametrize("kernel", ["torch", "step"])
def test_recurrent_blocks_are_orthogonal_and_the_forget_bias_is_on_one_bias(kernel: Kernel) -> None:
    lstm = build_direction("lstm", kernel, 5, 8)
    initialise(lstm, declared("lstm"), 1.0, torch.Generator().manual_seed(0))
    for block in lstm.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(8), rtol=0, atol=1e-5)
    assert lstm.bias_ih_l0.detach().chunk(4)[1].tolist() == [1.0] * 8
    assert float(lstm.bias_ih_l0.detach().sum()) == 8.0
    assert not lstm.bias_hh_l0.detach().any()


def test_cells_with_one_seed_start_from_the_same_output_layer() -> None:
    models = [ModelConfig(cell=cell, hidden_size=6) for cell in ("gru", "lstm")]  # type: ignore[arg-type]
    networks = [
        TextClassifier(model, 6, torch.zeros(9, 4), trainable_vectors=True, classes=3, seed=5) for model in models
    ]
    assert torch.equal(networks[0].output.weight, networks[1].output.weight)
