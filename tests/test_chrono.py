"""Chrono initialisation: gates that keep the state begin with memories of all lengths up to a given one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bench
from bench.compose import compose
from bench.config import ModelConfig
from bench.declarations import DECLARED, declared
from bench.errors import UserError
from bench.models.cells import CELLS, initialise
from bench.models.cells.minimal import mingru_gates, minlstm_gates
from bench.models.encoder import TextClassifier
from bench.models.kernels.layers import build_direction
from bench.runs.identity import resolve
from tests.conftest import Study

CHRONO = sorted(cell for cell in CELLS if declared(cell).chrono)
SIZE = 2000


def biases(cell: str, longest: int, *, kernel: str = "step", seed: int = 0, forget_bias: float | None = None) -> Tensor:
    """Input biases by gate, (gates, hidden), after initialisation; the other bias is checked to be zero."""
    layer = build_direction(cell, kernel, 2, 40)  # type: ignore[arg-type]
    initialise(layer, declared(cell), forget_bias, torch.Generator().manual_seed(seed), chrono=longest)
    if declared(cell).biases > 1:
        assert not layer.bias_hh_l0.any()
    return layer.bias_ih_l0.detach().view(declared(cell).gates, 40)


def test_cells_with_a_gate_that_keeps_the_state_are_known() -> None:
    assert {"gru", "lstm", "mgu", "mingru", "minlstm", "lstm_cifg", "lstm_peephole", "gru_reset_before"} <= set(CHRONO)
    assert {"rnn", "rnn_relu", "lstm_noforget"}.isdisjoint(CHRONO)


@pytest.mark.parametrize("kernel", ["torch", "step"])
@pytest.mark.parametrize("cell", CHRONO)
def test_biases_lie_between_those_of_memories_of_two_and_of_t_steps(cell: str, kernel: str) -> None:
    found = biases(cell, 30, kernel=kernel)
    touched = dict(declared(cell).chrono)
    for gate, values in enumerate(found):
        if gate not in touched:
            assert not values.any()
            continue
        memories = 1 + (touched[gate] * values).exp()
        assert 2 <= float(memories.min()) < 10
        assert 22 < float(memories.max()) <= 30.001


def test_the_lstms_input_gate_starts_as_the_complement_of_its_forget_gate() -> None:
    entry, forget, candidate, output = biases("lstm", 100, forget_bias=1.0)
    assert torch.equal(entry, -forget)
    torch.testing.assert_close(entry.sigmoid() + forget.sigmoid(), torch.ones(40))
    assert not candidate.any()
    assert not output.any()


def test_the_grus_update_gate_keeps_the_state_and_the_reset_gate_is_left_alone() -> None:
    reset, update, candidate = biases("gru", 100)
    assert (update >= 0).all()
    assert not reset.any()
    assert not candidate.any()


def test_memories_are_uniform_between_two_and_t() -> None:
    layer = build_direction("lstm", "step", 2, SIZE)
    initialise(layer, declared("lstm"), None, torch.Generator().manual_seed(1), chrono=50)
    memories = 1 + layer.bias_ih_l0.detach()[SIZE : 2 * SIZE].exp()
    shares = torch.histc(memories, 6, 2, 50) / SIZE
    torch.testing.assert_close(shares, torch.full((6,), 1 / 6), rtol=0, atol=5 * (5 / 36 / SIZE) ** 0.5)


def test_at_two_steps_every_gate_is_half_open() -> None:
    assert not biases("lstm", 2).any()


@pytest.mark.parametrize("gates", [mingru_gates, minlstm_gates])
def test_without_inputs_the_minimal_cells_forget_in_exactly_those_times(gates: object) -> None:
    cell = "mingru" if gates is mingru_gates else "minlstm"
    found = biases(cell, 200)
    decay, _ = gates(found.flatten()[None])  # type: ignore[operator]
    kept = found[0].sigmoid() if cell == "minlstm" else 1 - found[0].sigmoid()
    torch.testing.assert_close(decay[0], kept)
    memories = 1 / (1 - decay[0])
    assert float(memories.min().round(decimals=3)) >= 2
    assert float(memories.max()) <= 200.1


def test_a_unit_of_an_lstm_forgets_in_its_time() -> None:
    forget = biases("lstm", 100)[1].sigmoid()
    carousel = torch.ones(40)
    steps = (1 / (1 - forget)).round().int()
    for unit, count in enumerate(steps.tolist()):
        left = carousel[unit] * forget[unit] ** count
        assert 0.2 < float(left) < 0.45  # (1 − 1/n)^n: 1/4 at n = 2, 1/e for many


def test_weights_are_those_without_it_and_biases_follow_from_the_seed() -> None:
    def network(seed: int, chrono: int | None) -> TextClassifier:
        model = ModelConfig(cell="lstm", hidden_size=6, chrono=chrono)
        return TextClassifier(model, 6, torch.zeros(9, 4), trainable_vectors=True, classes=2, seed=seed)

    without, one, again, other = network(3, None), network(3, 40), network(3, 40), network(4, 40)
    for name, weight in without.state_dict().items():
        assert torch.equal(weight, one.state_dict()[name]) == ("bias_ih" not in name)
        assert torch.equal(again.state_dict()[name], one.state_dict()[name])
    bias = "encoder.layers.0.forward_direction.bias_ih_l0"
    assert not torch.equal(one.state_dict()[bias], other.state_dict()[bias])


@pytest.mark.parametrize("cell", ["rnn", "bag", "attention"])
def test_a_cell_without_such_a_gate_refuses_in_one_line(study: Study, cell: str) -> None:
    with pytest.raises(UserError, match=f"^model.chrono=20: the cell {cell} has no gate that keeps its state; remove"):
        compose(study.overrides(f"model={cell}", "model.chrono=20"))


@pytest.mark.parametrize("value", ["1", "0", "2.5"])
def test_what_is_no_length_is_refused(study: Study, value: str) -> None:
    with pytest.raises(UserError, match=f"^model.chrono={value}: should be"):
        compose(study.overrides("model=lstm", f"model.chrono={value}"))


def test_a_run_takes_it_in_the_place_of_the_forget_bias(study: Study) -> None:
    record = bench.run(study.overrides("model=lstm", "model.chrono=20", "training.epochs=1"))
    assert record.status == "finished"
    assert record.config["model.chrono"] == 20
    assert record.config["model.forget_bias"] is None
    assert resolve(compose(study.overrides("model=lstm", "training.epochs=1"))).run_id != record.run_id


def test_every_declared_place_is_a_gate_of_its_cell() -> None:
    for declaration in DECLARED.values():
        assert all(0 <= gate < declaration.gates and sign in (1, -1) for gate, sign in declaration.chrono)
