"""The variants of the cells: what their equations say in special cases, how large they are, and that they train."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import bench
from bench.compose import compose
from bench.config import ModelConfig
from bench.declarations import DECLARED, declared
from bench.errors import UserError
from bench.models.cells import CELLS, initialise
from bench.models.encoder import RecurrentEncoder
from bench.models.kernels.layers import CellLayer, EquationLayer, build_direction
from bench.models.sizes import encoder_flops_per_token, encoder_parameters, matched_width
from bench.runs.identity import resolve
from bench.runs.record import Status
from tests.conftest import Study

VARIANTS = ("rnn_relu", "mgu", "gru_reset_before", "lstm_noforget", "lstm_cifg", "lstm_peephole", "lstm_layernorm")
RECURRENT = sorted(cell for cell, declaration in DECLARED.items() if declaration.recurrent_matrix)
INPUT, HIDDEN, TIME = 4, 6, 9


def layer_of(cell: str, seed: int = 0) -> EquationLayer:
    draw = torch.Generator().manual_seed(seed)
    layer = EquationLayer(cell, INPUT, HIDDEN).double()
    for weight in layer.parameters():
        nn.init.uniform_(weight, -0.8, 0.8, generator=draw)
    return layer


def texts(seed: int = 1) -> Tensor:
    return torch.randn(3, TIME, INPUT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states_of(layer: nn.Module) -> Tensor:
    states: Tensor = layer(texts())[0]
    return states.detach()


def blocks(layer: nn.Module, name: str) -> list[Tensor]:
    """One gate's part each of W_ih, W_hh, b_ih or b_hh, to be read and written."""
    weight = layer.get_parameter(name).detach()
    return list(weight.chunk(declared(str(layer.cell)).gates))


MATRICES_AND_BIASES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def copy_gates(source: CellLayer, target: CellLayer, gates: dict[int, tuple[int, float]]) -> None:
    """Give a gate of the target the weights of one of the source, times a factor. gates: target -> (source, factor)."""
    for name in MATRICES_AND_BIASES:
        given, taken = blocks(source, name), blocks(target, name)
        for gate, (origin, factor) in gates.items():
            taken[gate].copy_(factor * given[origin])


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def by_hand(cell: str, layer: CellLayer, text: np.ndarray) -> np.ndarray:
    """States of one text, written with NumPy as the papers have them: one matrix a gate, one product a line."""
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    gates = declared(cell).gates
    W, U = (np.split(weights[f"weight_{kind}_l0"], gates) for kind in ("ih", "hh"))
    b, d = (np.split(weights[f"bias_{kind}_l0"], gates) for kind in ("ih", "hh"))
    h = c = np.zeros(HIDDEN)
    states = []
    for x in text:
        a = [W[k] @ x + b[k] + U[k] @ h + d[k] for k in range(gates)]
        if cell == "rnn_relu":
            h = np.maximum(a[0], 0)
        elif cell == "mgu":
            f = sigmoid(a[0])
            h = (1 - f) * h + f * np.tanh(W[1] @ x + b[1] + U[1] @ (f * h) + d[1])
        elif cell == "gru_reset_before":
            r, z = sigmoid(a[0]), sigmoid(a[1])
            h = z * h + (1 - z) * np.tanh(W[2] @ x + b[2] + U[2] @ (r * h) + d[2])
        elif cell == "lstm_noforget":
            c = c + sigmoid(a[0]) * np.tanh(a[1])
            h = sigmoid(a[2]) * np.tanh(c)
        elif cell == "lstm_cifg":
            f = sigmoid(a[0])
            c = f * c + (1 - f) * np.tanh(a[1])
            h = sigmoid(a[2]) * np.tanh(c)
        elif cell == "lstm_peephole":
            to_i, to_f, to_o = np.split(weights["weight_peephole_l0"], 3)
            i, f = sigmoid(a[0] + to_i * c), sigmoid(a[1] + to_f * c)
            c = f * c + i * np.tanh(a[2])
            h = sigmoid(a[3] + to_o * c) * np.tanh(c)
        else:
            h, c = normalised_step(weights, x, h, c)
        states.append(h)
    return np.stack(states)


def normalised_step(
    weights: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def norm(values: np.ndarray, gain: str, bias: str) -> np.ndarray:
        spread = np.sqrt(values.var() + 1e-5)
        return (values - values.mean()) / spread * weights[gain] + weights[bias]

    by_input = norm(weights["weight_ih_l0"] @ x, "gain_ih_l0", "bias_ih_l0")
    by_state = norm(weights["weight_hh_l0"] @ h, "gain_hh_l0", "bias_hh_l0")
    i, f, g, o = np.split(by_input + by_state, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(norm(c, "gain_c_l0", "bias_c_l0")), c


@pytest.mark.parametrize("cell", VARIANTS)
def test_states_are_those_of_the_papers_formulas(cell: str) -> None:
    layer = layer_of(cell)
    expected = np.stack([by_hand(cell, layer, text) for text in texts().numpy()])
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(states_of(layer).numpy(), expected, rtol=0, atol=1e-12)


def test_without_peepholes_it_is_the_lstm() -> None:
    peephole, lstm = layer_of("lstm_peephole"), layer_of("lstm")
    copy_gates(peephole, lstm, {gate: (gate, 1.0) for gate in range(4)})
    assert (states_of(peephole) - states_of(lstm)).abs().max() > 0.01
    peephole.get_parameter("weight_peephole_l0").data.zero_()
    torch.testing.assert_close(states_of(peephole), states_of(lstm), rtol=0, atol=1e-12)


def test_an_lstm_that_forgets_nothing_is_the_one_without_forget_gate() -> None:
    without, lstm = layer_of("lstm_noforget"), layer_of("lstm")
    copy_gates(without, lstm, {0: (0, 1.0), 2: (1, 1.0), 3: (2, 1.0)})
    assert (states_of(without) - states_of(lstm)).abs().max() > 0.01
    blocks(lstm, "bias_ih_l0")[1].fill_(1000.0)
    torch.testing.assert_close(states_of(without), states_of(lstm), rtol=0, atol=1e-12)


def test_an_lstm_whose_input_gate_mirrors_its_forget_gate_is_the_coupled_one() -> None:
    coupled, lstm = layer_of("lstm_cifg"), layer_of("lstm")
    copy_gates(coupled, lstm, {0: (0, -1.0), 1: (0, 1.0), 2: (1, 1.0), 3: (2, 1.0)})
    torch.testing.assert_close(states_of(coupled), states_of(lstm), rtol=0, atol=1e-12)


def test_a_gru_whose_update_gate_mirrors_its_reset_gate_is_the_minimal_unit() -> None:
    minimal, gru = layer_of("mgu"), layer_of("gru_reset_before")
    copy_gates(minimal, gru, {0: (0, 1.0), 1: (0, -1.0), 2: (1, 1.0)})
    torch.testing.assert_close(states_of(minimal), states_of(gru), rtol=0, atol=1e-12)


def test_where_nothing_is_reset_the_order_of_reset_and_product_makes_no_difference() -> None:
    before, after = layer_of("gru_reset_before"), layer_of("gru")
    copy_gates(before, after, {gate: (gate, 1.0) for gate in range(3)})
    assert (states_of(before) - states_of(after)).abs().max() > 0.01
    for layer in (before, after):
        blocks(layer, "bias_ih_l0")[0].fill_(1000.0)
    torch.testing.assert_close(states_of(before), states_of(after), rtol=0, atol=1e-12)


def test_normalised_products_do_not_depend_on_the_scale_of_weights() -> None:
    layer = layer_of("lstm_layernorm")
    before = states_of(layer)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        layer.get_parameter(name).data.mul_(1000)
    torch.testing.assert_close(states_of(layer), before, rtol=0, atol=0.01)
    plain = layer_of("lstm")
    before = states_of(plain)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        plain.get_parameter(name).data.mul_(1000)
    assert (states_of(plain) - before).abs().max() > 0.1


def test_units_of_a_relu_network_begin_by_keeping_what_they_hold() -> None:
    layer = build_direction("rnn_relu", "torch", INPUT, HIDDEN)
    initialise(layer, declared("rnn_relu"), None, torch.Generator().manual_seed(0))
    assert torch.equal(layer.weight_hh_l0, torch.eye(HIDDEN))
    given = torch.zeros(1, TIME, INPUT)
    given[:, 0] = 1
    states = layer(given)[0][0].detach()
    assert states[0].max() > 0
    assert all(torch.equal(state, states[0]) for state in states)


def test_norms_begin_as_they_are_and_peepholes_closed() -> None:
    for cell, expected in (("lstm_layernorm", {"gain": 1.0, "bias_c": 0.0}), ("lstm_peephole", {"weight_peep": 0.0})):
        layer = build_direction(cell, "step", INPUT, HIDDEN)
        initialise(layer, declared(cell), 1.0, torch.Generator().manual_seed(0))
        started = {name: weight for name, weight in layer.named_parameters() if name.startswith(tuple(expected))}
        assert len(started) == len(declared(cell).further)
        for name, weight in started.items():
            (value,) = (value for begins, value in expected.items() if name.startswith(begins))
            assert weight.unique().tolist() == [value]


def model_of(cell: str, **keys: object) -> ModelConfig:
    return ModelConfig(cell=cell, hidden_size=128, **keys)  # type: ignore[arg-type]


def test_published_widths_have_these_weights_and_operations() -> None:
    counts = {cell: encoder_parameters(model_of(cell), 100, 128) for cell in VARIANTS}
    assert counts == {
        "rnn_relu": 29_440,  # as a simple network
        "mgu": 2 * (128 * 228 + 2 * 128),
        "gru_reset_before": 88_320,  # as a GRU
        "lstm_noforget": 88_320,
        "lstm_cifg": 88_320,
        "lstm_peephole": 117_760 + 3 * 128,
        "lstm_layernorm": 117_760 + 10 * 128,
    }
    flops = {cell: encoder_flops_per_token(model_of(cell), 100, 128) for cell in VARIANTS}
    assert flops == {
        "rnn_relu": 2 * 128 * 228,
        "mgu": 4 * 128 * 228,
        "gru_reset_before": 6 * 128 * 228,
        "lstm_noforget": 6 * 128 * 228,
        "lstm_cifg": 6 * 128 * 228,
        "lstm_peephole": 8 * 128 * 228 + 2 * 3 * 128,
        "lstm_layernorm": 8 * 128 * 228 + (2 * 9 + 5 * 9) * 128,
    }


@pytest.mark.parametrize("cell", RECURRENT)
def test_operations_of_matrix_products_are_those_that_are_carried_out(cell: str) -> None:
    layer = EquationLayer(cell, 10, 8)
    with FlopCounterMode(display=False) as counted:
        layer(torch.zeros(3, 5, 10))
    further = sum(2 * vector.per_unit for vector in declared(cell).further if not vector.bias)
    beside = 8 * (further + declared(cell).operations)
    expected = encoder_flops_per_token(ModelConfig(cell=cell, hidden_size=8), 10, 8) - beside
    assert counted.get_total_flops() == 3 * 5 * expected


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", VARIANTS)
def test_at_equal_parameters_no_other_width_comes_nearer_to_the_lstm(cell: str, bidirectional: bool) -> None:
    model = model_of(cell, match="parameters", bidirectional=bidirectional)
    target = encoder_parameters(model_of("lstm", bidirectional=bidirectional), 100, 128)
    width = matched_width(model, 100)
    distances = [abs(encoder_parameters(model, 100, other) - target) for other in (width - 1, width, width + 1)]
    assert min(distances) == distances[1] <= 0.02 * target


@pytest.mark.parametrize("cell", ["lstm_cifg", "lstm_peephole", "lstm_layernorm"])
@pytest.mark.parametrize("kernel", ["torch", "step"])
def test_the_forget_bias_opens_the_forget_gate(cell: str, kernel: str) -> None:
    encoder = RecurrentEncoder(model_of(cell, forget_bias=2.0), INPUT, HIDDEN, kernel)  # type: ignore[arg-type]
    layer = encoder.layers[0].forward_direction
    initialise(layer, declared(cell), 2.0, torch.Generator().manual_seed(0))
    assert [block.unique().tolist() for block in blocks(layer, "bias_ih_l0")].count([2.0]) == 1
    carousel = torch.full((1, 1, HIDDEN), 0.5)
    zero = torch.zeros_like(layer.bias_ih_l0)
    inputs = layer.bias_ih_l0[None]
    _, after = CELLS[cell].step(inputs, (zero[None, :HIDDEN], carousel[0]), *layer.step_weights())
    torch.testing.assert_close(after, 0.5 * torch.sigmoid(torch.tensor(2.0)).expand(1, HIDDEN))


@pytest.mark.parametrize("cell", ["rnn_relu", "mgu", "gru_reset_before", "lstm_noforget"])
def test_a_forget_bias_is_refused_where_there_is_no_forget_gate(cell: str) -> None:
    with pytest.raises(UserError, match=f"the cell {cell} has no forget gate"):
        compose([f"model={cell}", "model.forget_bias=1"])


def test_auto_takes_the_hand_written_recurrence_where_pytorch_has_no_module(study: Study) -> None:
    kernels = {cell: resolve(compose(study.overrides(f"model={cell}"))).kernel for cell in ("gru", *VARIANTS)}
    assert kernels == {"gru": "torch", "rnn_relu": "torch"} | dict.fromkeys(VARIANTS[1:], "step")
    asked = study.overrides("model=mgu", "model.kernel=torch")
    assert resolve(compose(asked)).kernel == "torch"


@pytest.mark.parametrize("cell", VARIANTS)
def test_every_variant_trains_and_is_counted(cell: str, study: Study) -> None:
    record = bench.run(study.overrides(f"model={cell}", "training.epochs=1", "model.match=parameters"))
    assert record.status is Status.FINISHED, record.error_message
    assert record.config["model.cell"] == cell
    target = encoder_parameters(ModelConfig(cell="lstm", hidden_size=12), 8, 12)
    assert record.parameters_recurrent == pytest.approx(target, rel=0.15)
    if cell != "rnn_relu":
        assert record.kernel == "step"
        assert any(name.startswith(("bench::native", "bench::loop")) for name in record.kernel_operators or ())


def test_a_glob_plans_all_lstms_and_help_names_every_cell(study: Study) -> None:
    planned = study.command("-m", *study.overrides("dry_run=true", "model=glob(lstm*)"))
    assert planned.returncode == 0, planned.stderr
    told = planned.stdout + planned.stderr
    assert "5 runs" in told, told
    listed = study.command("--help").stdout
    assert all(f" {cell}" in listed for cell in DECLARED)
