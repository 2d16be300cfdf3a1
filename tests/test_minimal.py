"""minGRU and minLSTM: scan and loop compute the same, exactly under padding, and the program copes with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bench
from bench.compose import compose
from bench.config import DuelConfig, ModelConfig
from bench.declarations import declared
from bench.duels.plan import make_plan
from bench.errors import UserError
from bench.models.cells import CELLS, initialise
from bench.models.cells.minimal import minlstm_gates
from bench.models.encoder import RecurrentEncoder, TextClassifier
from bench.models.kernels.layers import EquationLayer, ScanLayer, build_direction
from bench.models.sizes import encoder_flops_per_token, encoder_parameters, matched_width, sizes_of
from bench.runs.identity import resolve
from tests.conftest import Study

MINIMAL = ["mingru", "minlstm"]
EVERY_CELL = pytest.mark.parametrize("cell", MINIMAL)
LENGTHS = torch.tensor([13, 1, 7])


def encoders(cell: str, num_layers: int = 2, bidirectional: bool = True) -> dict[str, RecurrentEncoder]:
    """Both executions with the same weights, in float64."""
    model = ModelConfig(cell=cell, hidden_size=4, num_layers=num_layers, bidirectional=bidirectional)
    torch.manual_seed(3)
    found = {kernel: RecurrentEncoder(model, 3, 4, kernel).double() for kernel in ("torch", "step")}  # type: ignore[arg-type]
    for weight in found["torch"].parameters():
        nn.init.uniform_(weight, -0.9, 0.9)
    found["step"].load_state_dict(found["torch"].state_dict())
    return found


def results(encoder: RecurrentEncoder, values: Tensor, lengths: Tensor) -> list[Tensor]:
    """States of valid steps, then the gradients of the inputs and of all weights."""
    valid = (torch.arange(values.shape[1]) < lengths[:, None])[:, :, None]
    inputs = values.clone().requires_grad_()
    states = encoder(inputs, lengths) * valid
    gradients = torch.autograd.grad(states.square().sum(), [inputs, *encoder.parameters()])
    return [states.detach(), *gradients]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@EVERY_CELL
def test_scan_and_loop_give_the_same_states_and_gradients(cell: str, num_layers: int, bidirectional: bool) -> None:
    both = encoders(cell, num_layers, bidirectional)
    kinds = {type(layer.forward_direction) for encoder in both.values() for layer in encoder.layers}
    assert kinds == {EquationLayer, ScanLayer}
    values = torch.randn(3, 15, 3, dtype=torch.float64)
    found = [results(encoder, values, LENGTHS) for encoder in both.values()]
    assert len(found[0]) == 2 + 2 * num_layers * (1 + bidirectional)
    for one, other in zip(*found, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@EVERY_CELL
def test_states_follow_the_papers_equations(cell: str) -> None:
    layer = build_direction(cell, "step", 3, 4).double()
    for weight in layer.parameters():
        nn.init.uniform_(weight, -1, 1)
    inputs = torch.randn(2, 9, 3, dtype=torch.float64)
    with torch.no_grad():
        parts = (inputs @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(declared(cell).gates, dim=2)
        state, states = torch.zeros(2, 4, dtype=torch.float64), []
        for step in range(9):
            if cell == "mingru":
                update, candidate = torch.sigmoid(parts[0][:, step]), parts[1][:, step]
                state = (1 - update) * state + update * candidate
            else:
                forget, entry = torch.sigmoid(parts[0][:, step]), torch.sigmoid(parts[1][:, step])
                state = (forget * state + entry * parts[2][:, step]) / (forget + entry)
            states.append(state)
        found = layer(inputs, torch.tensor([9, 9]))
    torch.testing.assert_close(found, torch.stack(states, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["torch", "step"])
@EVERY_CELL
def test_padding_changes_no_output_and_no_gradient(cell: str, kernel: str) -> None:
    encoder = encoders(cell)[kernel]
    values, found = torch.randn(3, 13, 3, dtype=torch.float64), []
    for padding, content in ((0, 0.0), (5, 1e6)):
        valid = (torch.arange(13 + padding) < LENGTHS[:, None])[:, :, None]
        padded = torch.where(valid, nn.functional.pad(values, (0, 0, 0, padding)), content)
        states, inputs, *weights = results(encoder, padded, LENGTHS)
        assert not inputs[~valid.expand_as(inputs)].any()
        found.append([states[:, :13], inputs[:, :13], *weights])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", ["torch", "step"])
@EVERY_CELL
def test_company_changes_no_output(cell: str, kernel: str) -> None:
    encoder = encoders(cell)[kernel]
    values = torch.randn(3, 13, 3, dtype=torch.float64)
    together = encoder(values, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(values[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@EVERY_CELL
def test_gradients_are_the_derivative(cell: str, reverse: bool) -> None:
    layer, lengths = build_direction(cell, "step", 2, 3).double(), torch.tensor([6, 2])
    weights = [torch.randn(weight.shape, dtype=torch.float64).requires_grad_() for weight in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]
    valid = (torch.arange(7) < lengths[:, None])[:, :, None]

    def states(inputs: Tensor, *given: Tensor) -> Tensor:
        found = torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (inputs, lengths, reverse))
        return torch.where(valid, found, 0)  # type: ignore[no-any-return]

    inputs = torch.randn(2, 7, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(states, (inputs, *weights))


@EVERY_CELL
def test_a_state_is_a_weighted_mean_of_zero_and_the_candidates(cell: str) -> None:
    layer = build_direction(cell, "step", 3, 4)
    for weight in layer.parameters():
        nn.init.normal_(weight, 0, 3)
    inputs = torch.randn(2, 300, 3)
    candidates = (inputs @ layer.weight_ih_l0.T + layer.bias_ih_l0)[:, :, -4:]
    assert (layer(inputs, torch.tensor([300, 300])).abs().amax(1) <= candidates.abs().amax(1) * (1 + 1e-5)).all()


def test_gates_that_are_both_closed_still_share_out_the_state() -> None:
    closed = torch.tensor([[-400.0, -400.0, 8.0]], requires_grad=True)  # σ of it is no number in single precision
    decay, entry = minlstm_gates(closed)
    assert (float(decay), float(entry)) == (0.5, 4.0)
    (gradient,) = torch.autograd.grad(entry.sum(), closed)
    assert torch.isfinite(gradient).all()


@EVERY_CELL
def test_mixed_precision_stays_near_full_precision(cell: str) -> None:
    encoder = encoders(cell)["step"].float()
    inputs = torch.randn(3, 13, 3)
    full = encoder(inputs, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = encoder(inputs, LENGTHS)
    assert mixed.dtype is torch.float32
    assert not torch.equal(mixed[0], full[0]), "the products were not taken in bfloat16"
    torch.testing.assert_close(mixed[0], full[0], rtol=0, atol=5e-2)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("kernel", ["torch", "step"])
@EVERY_CELL
def test_closed_formulas_count_every_parameter(cell: str, kernel: str, num_layers: int, bidirectional: bool) -> None:
    model = ModelConfig(cell=cell, hidden_size=6, num_layers=num_layers, bidirectional=bidirectional)
    network = TextClassifier(model, 6, torch.zeros(9, 4), trainable_vectors=True, classes=2, seed=0, kernel=kernel)  # type: ignore[arg-type]
    sizes = sizes_of(model, 6, rows=9, dimension=4, classes=2)
    assert sizes.recurrent == sum(weight.numel() for weight in network.encoder.parameters())
    assert sizes.total == sum(weight.numel() for weight in network.parameters())


def test_counts_have_no_recurrent_matrix() -> None:
    def counts(cell: str) -> tuple[int, int]:
        model = ModelConfig(cell=cell, hidden_size=128)
        return encoder_parameters(model, 100, 128), encoder_flops_per_token(model, 100, 128)

    assert counts("mingru") == (2 * 128 * 101, 4 * 128 * 100)
    assert counts("minlstm") == (3 * 128 * 101, 6 * 128 * 100)


def test_matched_widths_come_nearest_to_the_lstm() -> None:
    assert encoder_parameters(ModelConfig(cell="lstm", hidden_size=128), 100, 128) == 117_760
    found = {cell: matched_width(ModelConfig(cell=cell, hidden_size=128, match="parameters"), 100) for cell in MINIMAL}
    assert found == {"mingru": 583, "minlstm": 389}
    few_inputs = ModelConfig(cell="mingru", hidden_size=128, match="parameters")
    assert matched_width(few_inputs, 8) == round(4 * 128 * (8 + 128 + 2) / (2 * 9))


@pytest.mark.parametrize("kernel", ["torch", "step"])
@EVERY_CELL
def test_layers_start_with_glorot_weights_and_biases_of_zero(cell: str, kernel: str) -> None:
    layer = build_direction(cell, kernel, 60, 40)  # type: ignore[arg-type]
    initialise(layer, declared(cell), None, torch.Generator().manual_seed(0))
    assert sorted(dict(layer.named_parameters())) == ["bias_ih_l0", "weight_ih_l0"]
    assert not layer.bias_ih_l0.any()
    for block in layer.weight_ih_l0.detach().chunk(declared(cell).gates):
        limit = (6 / 100) ** 0.5
        assert 0.95 * limit < float(block.abs().max()) <= limit


def test_the_forget_bias_of_a_minlstm_is_its_forget_gates() -> None:
    layer = build_direction("minlstm", "step", 3, 4)
    initialise(layer, declared("minlstm"), 2.0, torch.Generator().manual_seed(0))
    assert layer.bias_ih_l0.tolist() == [2.0] * 4 + [0.0] * 8


@EVERY_CELL
def test_a_run_learns_by_the_scan_and_its_record_says_so(study: Study, cell: str) -> None:
    record = bench.run(study.overrides(f"model={cell}", "model.bidirectional=true", "training.epochs=5"))
    assert record.status == "finished"
    assert (record.kernel, record.kernel_auto) == ("step", "step")
    assert {"bench::scan_forward", "bench::scan_backward"} <= set(record.kernel_operators or [])
    assert record.test_accuracy is not None
    assert record.test_accuracy > 0.6
    gates = declared(cell).gates
    assert record.parameters_recurrent == 2 * gates * 12 * (8 + 1)


def test_both_executions_of_a_run_are_runs_of_their_own(study: Study) -> None:
    auto, loop, scan = (
        resolve(compose(study.overrides("model=mingru", f"model.kernel={kernel}")))
        for kernel in ("auto", "torch", "step")
    )
    assert auto.run_id == scan.run_id != loop.run_id


def test_a_duel_races_both_executions_at_both_matchings(study: Study) -> None:
    runs = {cell: resolve(compose(study.overrides(f"model={cell}"))) for cell in ("lstm", "mingru")}
    plan = make_plan(runs, DuelConfig(lengths=[8], batch_sizes=[4], widths=[12]))
    found = {(one.cell, one.kernel, one.hidden_size) for one in plan.contestants(plan.centre)}
    matched = matched_width(ModelConfig(cell="mingru", hidden_size=12, match="parameters"), 8)
    assert {("mingru", kernel, width) for kernel in ("torch", "step") for width in (12, matched)} <= found
    assert matched > 12
    assert all(one.flops > 0 for one in plan.contestants(plan.centre))


@pytest.mark.parametrize("key", ["model.weight_drop=0.5", "model.recurrent_dropout=0.2"])
@EVERY_CELL
def test_dropout_in_a_recurrent_matrix_is_refused_in_one_line(study: Study, cell: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: the cell {cell} has no recurrent matrix; remove it or .*$") as found:
        compose(study.overrides(f"model={cell}", key))
    assert "\n" not in str(found.value)


def test_the_forget_bias_is_refused_where_there_is_no_forget_gate(study: Study) -> None:
    with pytest.raises(UserError, match=r"model\.forget_bias: the cell mingru has no forget gate"):
        compose(study.overrides("model=mingru", "model.forget_bias=1.0"))


def test_all_minimal_cells_are_tested_here() -> None:
    assert sorted(cell for cell, kind in CELLS.items() if kind.linear is not None) == MINIMAL
