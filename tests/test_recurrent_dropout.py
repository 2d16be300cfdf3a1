"""Dropout in recurrences: one mask for all time, exact gradients, nothing in evaluation, nothing where it is off."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bench
from bench.compose import compose
from bench.config import ModelConfig
from bench.declarations import declared
from bench.errors import UserError
from bench.models.cells import CELLS
from bench.models.dropout import VariationalDropout
from bench.models.encoder import RecurrentEncoder, RecurrentLayer, TextClassifier, reverse_within
from bench.models.kernels.layers import EquationLayer, build_direction
from bench.models.recurrent_dropout import DroppedDirection, RecurrentDropout, WeightDrop
from bench.runs.identity import ResolvedRun, resolve
from bench.runs.science import science_of
from tests.conftest import Study
from tests.executions import EXECUTIONS, execution, kernel_of
from tests.test_resume import cut_off, folder_of

RECURRENT = sorted(cell for cell in CELLS if declared(cell).recurrent_matrix)
EVERY_CELL = pytest.mark.parametrize("cell", RECURRENT)
EVERY_EXECUTION = pytest.mark.parametrize("name", EXECUTIONS)
LENGTHS = torch.tensor([9, 2, 6])
KEYS = ("model.chrono", "model.weight_drop", "model.recurrent_dropout", "model.variational")


def layer_of(model: ModelConfig, name: str, seed: int = 0) -> RecurrentLayer:
    """One layer in float64 with weights of a size that matters."""
    layer = RecurrentLayer(model, kernel_of(name), 3, 4).double()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.uniform_(-0.8, 0.8, generator=draw)
    return layer


def plain(layer: RecurrentLayer, model: ModelConfig, name: str, **weights: Tensor) -> RecurrentLayer:
    """The same layer without any dropout; weights: in the place of its own."""
    other = RecurrentLayer(replace(model, weight_drop=0.0, recurrent_dropout=0.0), kernel_of(name), 3, 4).double()
    other.load_state_dict({**layer.state_dict(), **weights})
    return other


def read(layer: nn.Module, values: Tensor, seed: int = 11) -> tuple[Tensor, dict[str, Tensor]]:
    """States of valid steps, and the gradients of the inputs and of all weights by name; masks are the seed's."""
    valid = (torch.arange(values.shape[1]) < LENGTHS[:, None])[:, :, None]
    inputs = values.clone().requires_grad_()
    torch.manual_seed(seed)
    states = layer(inputs, LENGTHS) * valid
    names = [name for name, _ in layer.named_parameters()]
    gradients = torch.autograd.grad(states.square().sum(), [inputs, *layer.parameters()])
    return states.detach(), dict(zip(["inputs", *names], gradients, strict=True))


def values_of(texts: int = 3, time: int = 9) -> Tensor:
    return torch.randn(texts, time, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def drawn_matrices(layer: RecurrentLayer, seed: int = 11) -> dict[str, Tensor]:
    """What a batch reads in the place of each recurrent matrix, if it begins at a seed."""
    torch.manual_seed(seed)
    found = {}
    for name in ("forward_direction", "backward_direction"):
        direction = getattr(layer, name)
        if direction is not None:
            found |= {f"{name}.{own}": weight.detach() for own, weight in layer.weight_drop.drawn(direction).items()}
    return found


# Weight drop


def test_weights_are_dropped_with_probability_p_and_keep_their_mean() -> None:
    direction = build_direction("rnn", "step", 3, 600)
    nn.init.ones_(direction.weight_hh_l0)
    torch.manual_seed(5)
    weight = WeightDrop(0.3).drawn(direction)["weight_hh_l0"].detach()
    zeros, count, p = int((weight == 0).sum()), weight.numel(), 0.3
    assert abs(zeros - p * count) < 5 * math.sqrt(count * p * (1 - p))
    torch.testing.assert_close(weight[weight != 0], torch.full((count - zeros,), 1 / 0.7), rtol=1e-4, atol=0)
    assert abs(float(weight.mean()) - 1) < 0.01


@EVERY_EXECUTION
@EVERY_CELL
def test_states_and_gradients_are_those_of_the_dropped_weights(cell: str, name: str) -> None:
    model = ModelConfig(cell=cell, hidden_size=4, bidirectional=True, weight_drop=0.5)
    layer, values = layer_of(model, name), values_of()
    dropped = drawn_matrices(layer)
    assert len(dropped) == 2
    with execution(name):
        states, gradients = read(layer, values)
        expected, exact = read(plain(layer, model, name, **dropped), values)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)
    for key, gradient in gradients.items():
        mask = (dropped[key] != 0) * 2.0 if key in dropped else 1.0
        torch.testing.assert_close(gradient, exact[key] * mask, rtol=0, atol=1e-11)
    zeros = sum(int((weight == 0).sum()) for weight in dropped.values())
    assert 0 < zeros < sum(weight.numel() for weight in dropped.values())


@EVERY_CELL
def test_both_kernels_agree_under_one_mask(cell: str) -> None:
    model = ModelConfig(cell=cell, hidden_size=4, bidirectional=True, weight_drop=0.3)
    found = [read(layer_of(model, name), values_of()) for name in ("torch", "loop")]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-10)
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][key], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["torch", "loop"])
def test_one_mask_holds_for_all_texts_of_a_batch_and_another_for_the_next(name: str) -> None:
    model = ModelConfig(cell="lstm", hidden_size=4, weight_drop=0.5)
    layer, one = layer_of(model, name), values_of(1)
    torch.manual_seed(1)
    first, second = (layer(one.expand(3, -1, -1), torch.tensor([9, 9, 9])) for _ in range(2))
    torch.testing.assert_close(first, first[:1].expand_as(first), rtol=0, atol=1e-14)
    assert not torch.allclose(first[:, 1:], second[:, 1:])
    assert torch.equal(first[:, 0], second[:, 0])  # before the first product with a state


@EVERY_EXECUTION
@pytest.mark.parametrize("dropout", ["weight_drop", "recurrent_dropout"])
def test_evaluation_drops_nothing_even_after_training(dropout: str, name: str) -> None:
    for cell in ("gru", "lstm"):
        model = replace(ModelConfig(cell=cell, hidden_size=4, bidirectional=True), **{dropout: 0.5})
        layer = layer_of(model, name)
        other, values, before = plain(layer, model, name), values_of(), torch.random.get_rng_state()
        with execution(name):
            trained = read(layer, values)[0]
            torch.random.set_rng_state(before)
            evaluated, expected = layer.eval()(values, LENGTHS), other.eval()(values, LENGTHS)
        assert torch.equal(torch.random.get_rng_state(), before), "evaluation drew random numbers"
        valid = (torch.arange(9) < LENGTHS[:, None])[:, :, None]
        torch.testing.assert_close(evaluated * valid, expected * valid, rtol=0, atol=1e-12)
        assert not torch.allclose(trained, expected * valid)


def test_parameters_keep_names_and_places_and_so_do_saved_weights() -> None:
    model = ModelConfig(cell="lstm", hidden_size=4, bidirectional=True, num_layers=2)
    off = RecurrentEncoder(model, 3, 4, "torch")
    on = RecurrentEncoder(replace(model, weight_drop=0.5, variational=True, dropout=0.5), 3, 4, "torch")
    assert list(on.state_dict()) == list(off.state_dict())
    before = {name: weight.clone() for name, weight in on.named_parameters()}
    on(values_of().float(), LENGTHS).sum().backward()
    for name, weight in on.named_parameters():
        assert isinstance(weight, nn.Parameter)
        assert torch.equal(weight, before[name])
        assert weight.grad is not None


@pytest.mark.parametrize("dropout", ["weight_drop", "recurrent_dropout"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_truncated_gradients_go_through_the_same_masks(cell: str, bidirectional: bool, dropout: str) -> None:
    model = replace(ModelConfig(cell=cell, hidden_size=4, bidirectional=bidirectional), **{dropout: 0.5})
    for name in ("torch", "loop"):
        layer, values = layer_of(model, name), values_of()
        with execution(name):
            whole, exact = read(layer, values)
            layer.window = 3
            states, truncated = read(layer, values)
            layer.window = 9
            assert torch.equal(read(layer, values)[0], whole)
        torch.testing.assert_close(states, whole, rtol=0, atol=1e-12)
        key = "forward_direction.weight_hh_l0"
        assert not torch.allclose(truncated[key], exact[key])
        if dropout == "weight_drop":
            assert torch.equal(truncated[key] == 0, exact[key] == 0)
            assert (exact[key] == 0).any()


def test_gradients_of_windows_equal_a_loop_that_forgets_gradients() -> None:
    model = ModelConfig(cell="rnn", hidden_size=4, weight_drop=0.5)
    layer, values = layer_of(model, "torch"), values_of()
    dropped = drawn_matrices(layer)["forward_direction.weight_hh_l0"]
    layer.window = 4
    _, gradients = read(layer, values)
    direction = layer.forward_direction
    weight, hidden, states = dropped.clone().requires_grad_(), torch.zeros(3, 4, dtype=torch.float64), []
    for time in range(9):
        hidden = hidden.detach() if time % 4 == 0 else hidden
        product = values[:, time] @ direction.weight_ih_l0.T + direction.bias_ih_l0 + direction.bias_hh_l0
        hidden = torch.tanh(product + hidden @ weight.T)
        states.append(hidden)
    valid = (torch.arange(9) < LENGTHS[:, None])[:, :, None]
    (expected,) = torch.autograd.grad((torch.stack(states, 1) * valid).square().sum(), weight)
    found = gradients["forward_direction.weight_hh_l0"]
    torch.testing.assert_close(found, expected * (dropped != 0) * 2, rtol=0, atol=1e-11)


# Recurrent dropout


def masked(cell: str, mask: Tensor, state_dict: dict[str, Tensor], values: Tensor) -> Tensor:
    layer = EquationLayer(cell, 3, 4).double()
    layer.load_state_dict(state_dict)
    states, _ = layer(values, None, mask)
    return states  # type: ignore[no-any-return]


@EVERY_CELL
def test_products_see_nothing_of_a_state_that_is_dropped_whole(cell: str) -> None:
    layer = layer_of(ModelConfig(cell=cell, hidden_size=4), "loop").forward_direction
    weights, values = layer.state_dict(), values_of()
    nothing, everything = torch.zeros(3, 4, dtype=torch.float64), torch.ones(3, 4, dtype=torch.float64)
    without = {**weights, "weight_hh_l0": torch.zeros_like(weights["weight_hh_l0"])}
    torch.testing.assert_close(
        masked(cell, nothing, weights, values), masked(cell, everything, without, values), rtol=0, atol=1e-14
    )
    full = torch.tensor([9, 9, 9])
    torch.testing.assert_close(masked(cell, everything, weights, values), layer(values, full), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_masked_state_multiplies_and_the_rest_is_carried_on(cell: str) -> None:
    layer, values = layer_of(ModelConfig(cell=cell, hidden_size=4), "torch").forward_direction, values_of()
    mask = torch.tensor([[2.0, 0, 2, 0], [0, 0, 2, 2], [2, 2, 2, 2]], dtype=torch.float64)
    h = c = torch.zeros(3, 4, dtype=torch.float64)
    states = []
    for time in range(9):
        inputs = values[:, time] @ layer.weight_ih_l0.T + layer.bias_ih_l0
        product = (h * mask) @ layer.weight_hh_l0.T + layer.bias_hh_l0
        if cell == "lstm":
            entry, forget, candidate, output = (inputs + product).chunk(4, dim=1)
            c = forget.sigmoid() * c + entry.sigmoid() * candidate.tanh()
            h = output.sigmoid() * c.tanh()
        else:
            (r_in, z_in, n_in), (r_hid, z_hid, n_hid) = inputs.chunk(3, dim=1), product.chunk(3, dim=1)
            reset, update = (r_in + r_hid).sigmoid(), (z_in + z_hid).sigmoid()
            h = (1 - update) * (n_in + reset * n_hid).tanh() + update * h
        states.append(h)
    torch.testing.assert_close(
        masked(cell, mask, layer.state_dict(), values), torch.stack(states, 1), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [cell for cell in RECURRENT if CELLS[cell].masked])
def test_the_loop_by_hand_gives_the_states_and_gradients_of_the_equations(cell: str, reverse: bool) -> None:
    layer, values = layer_of(ModelConfig(cell=cell, hidden_size=4), "loop").forward_direction, values_of()
    mask = torch.tensor([[2.0, 0, 2, 0], [0, 0, 2, 2], [2, 2, 2, 0]], dtype=torch.float64)
    equations = EquationLayer(cell, 3, 4).double()
    equations.load_state_dict(layer.state_dict())
    valid, found = (torch.arange(9) < LENGTHS[:, None])[:, :, None], []
    for one in (layer, equations):
        inputs = values.clone().requires_grad_()
        if one is layer:
            states = one(inputs, LENGTHS, reverse, mask)
        else:
            states, _ = one(reverse_within(inputs, LENGTHS) if reverse else inputs, None, mask)
            states = reverse_within(states, LENGTHS) if reverse else states
        gradients = torch.autograd.grad((states * valid).square().sum(), [inputs, *one.parameters()])
        found.append([states * valid, *gradients])
    for ours, expected in zip(*found, strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    unmasked = layer(values, LENGTHS, reverse) * valid
    assert not torch.allclose(found[0][0], unmasked)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_masked_text_read_in_two_parts_has_the_states_of_one_read_at_once(cell: str) -> None:
    layer = layer_of(ModelConfig(cell=cell, hidden_size=4), "loop").forward_direction
    values, mask = values_of().transpose(0, 1), torch.tensor([[2.0, 0, 2, 0]], dtype=torch.float64).expand(3, -1)
    with torch.no_grad():
        whole, _ = layer.read_from(values, (), mask)
        first, state = layer.read_from(values[:4], (), mask)
        rest, _ = layer.read_from(values[4:], state, mask)
    torch.testing.assert_close(torch.cat([first, rest]), whole, rtol=0, atol=1e-12)


@EVERY_CELL
def test_gradients_under_recurrent_dropout_are_the_derivative(cell: str) -> None:
    model = ModelConfig(cell=cell, hidden_size=2, bidirectional=True, recurrent_dropout=0.5)
    layer, values = layer_of(model, "torch"), values_of(time=9)[:, :4]
    lengths, names = torch.tensor([4, 2, 3]), [name for name, _ in layer.named_parameters()]

    def states(*given: Tensor) -> Tensor:
        torch.manual_seed(8)
        found = torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (values, lengths))
        return found * (torch.arange(4) < lengths[:, None])[:, :, None]  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(states, tuple(weight.detach().requires_grad_() for weight in layer.parameters()))


def test_each_text_has_a_mask_of_its_own_and_every_direction_draws_another() -> None:
    model = ModelConfig(cell="gru", hidden_size=64, bidirectional=True, recurrent_dropout=0.25)
    layer = RecurrentLayer(model, "torch", 3, 64)
    torch.manual_seed(1)
    masks = [layer.recurrent_dropout.drawn(layer.forward_direction, 3) for _ in range(2)]
    first, second = masks
    assert first is not None
    assert second is not None
    assert first.shape == (3, 64)
    assert first.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_kept_units_are_scaled_so_that_the_mean_stays() -> None:
    direction = build_direction("gru", "torch", 3, 500)
    torch.manual_seed(4)
    mask = RecurrentDropout(0.4).drawn(direction, 400)
    assert mask is not None
    assert abs(float(mask.mean()) - 1) < 5 * math.sqrt(0.4 / 0.6 / mask.numel())


def test_a_matrix_that_is_put_in_place_comes_out_again_after_an_error() -> None:
    direction = build_direction("gru", "torch", 3, 4)
    own = direction.weight_hh_l0
    dropped = DroppedDirection(direction, {"weight_hh_l0": own * 2}, None)
    with pytest.raises(RuntimeError):
        dropped(torch.zeros(1, 2, 99))
    assert direction.weight_hh_l0 is own


# Variational dropout of what a layer reads


def test_a_mask_is_the_same_at_every_step_and_another_for_every_text() -> None:
    values = torch.ones(40, 7, 100)
    torch.manual_seed(2)
    kept = VariationalDropout(0.25)(values)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert len(torch.unique(kept[:, 0], dim=0)) == 40
    assert abs(float(kept[:, 0].mean()) - 1) < 5 * math.sqrt(0.25 / 0.75 / 4000)


def test_a_gradient_passes_where_a_feature_did() -> None:
    values = torch.ones(3, 5, 8, requires_grad=True)
    torch.manual_seed(3)
    kept = VariationalDropout(0.5)(values)
    kept.sum().backward()
    assert torch.equal(values.grad, kept)  # type: ignore[arg-type]
    assert 0 < int((kept == 0).sum()) < kept.numel()


def test_states_that_lie_time_major_stay_so() -> None:
    values = torch.randn(6, 3, 2).transpose(0, 1)
    assert VariationalDropout(0.5)(values).stride() == values.stride()


def test_without_training_nothing_is_drawn() -> None:
    values, before = torch.randn(2, 3, 4), torch.random.get_rng_state()
    assert VariationalDropout(0.5).eval()(values) is values
    assert VariationalDropout(0.0)(values) is values
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("variational", [False, True])
def test_the_same_features_of_all_words_of_a_text_are_dropped(variational: bool) -> None:
    model = ModelConfig(cell="bag", hidden_size=1, dropout=0.5, variational=variational)
    network = TextClassifier(model, 32, torch.ones(9, 32), trainable_vectors=True, classes=2, seed=0)
    states = network.encode(torch.randint(1, 9, (2, 12)), torch.tensor([12, 12]))
    assert bool((states == 0).any())
    assert torch.equal(states, states[:, :1].expand_as(states)) == variational


@pytest.mark.parametrize("variational", [False, True])
def test_the_same_features_are_dropped_between_layers_at_every_step(variational: bool) -> None:
    model = ModelConfig(cell="rnn", hidden_size=16, num_layers=2, dropout=0.5, variational=variational)
    encoder, seen = RecurrentEncoder(model, 3, 16, "torch"), []
    encoder.layers[1].register_forward_pre_hook(lambda layer, given: seen.append(given[0] == 0))
    encoder(torch.randn(2, 10, 3), torch.tensor([10, 10]))
    (zeros,) = seen
    assert 0 < int(zeros.sum()) < zeros.numel()
    assert torch.equal(zeros, zeros[:, :1].expand_as(zeros)) == variational


# Runs


ALL = ("model=lstm", "model.weight_drop=0.3", "model.recurrent_dropout=0.2", "model.variational=true",
       "model.dropout=0.4", "model.num_layers=2", "model.bidirectional=true", "training.epochs=4",
       "training.log_every_steps=5", "model.chrono=20")  # fmt: skip


def test_a_run_that_was_cut_off_ends_with_the_same_bits(study: Study) -> None:
    unbroken = bench.run(study.overrides(*ALL, "results=" + str(study.folder / "unbroken")))
    stopped = cut_off(study, 3, *ALL)
    resumed = bench.run(study.overrides(*ALL))
    assert (stopped.status, resumed.status, resumed.resumed_epochs) == ("interrupted", "finished", 2)
    assert resumed.run_id == unbroken.run_id
    ours = folder_of(study.results, resumed) / "weights.safetensors"
    other = folder_of(study.folder / "unbroken", unbroken) / "weights.safetensors"
    assert ours.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("key", ["model.weight_drop=0.5", "model.recurrent_dropout=0.5", "model.variational=true"])
def test_each_kind_of_dropout_makes_another_run_with_other_numbers(study: Study, key: str) -> None:
    common = ("model=gru", "model.dropout=0.3", "training.epochs=1")
    off, on = bench.run(study.overrides(*common)), bench.run(study.overrides(*common, key))
    assert off.run_id != on.run_id
    assert off.status == on.status == "finished"
    assert off.test_log_loss != on.test_log_loss
    assert off.parameters_total == on.parameters_total


def test_a_key_that_is_off_is_no_part_of_a_runs_name(study: Study) -> None:
    def run(*more: str) -> ResolvedRun:
        return resolve(compose(study.overrides("model=lstm", *more)))

    off = ("model.chrono=null", "model.weight_drop=0", "model.recurrent_dropout=0", "model.variational=false")
    assert run().run_id == run(*off).run_id
    assert not any(key in science_of(run().config) for key in KEYS)
    assert run().pair_key == run(*off).pair_key


def test_keys_that_change_nothing_make_no_other_run(study: Study) -> None:
    def named(*more: str) -> str:
        return resolve(compose(study.overrides("model=lstm", *more))).run_id

    assert named("model.dropout=0", "model.variational=true") == named("model.dropout=0")
    assert named("model.dropout=0.2", "model.variational=true") != named("model.dropout=0.2")
    assert named("model.chrono=30", "model.forget_bias=3.0") == named("model.chrono=30") != named()


@pytest.mark.parametrize("cell", ["bag", "attention"])
@pytest.mark.parametrize("key", ["model.weight_drop=0.5", "model.recurrent_dropout=0.2"])
def test_a_cell_without_recurrent_matrix_refuses_in_one_line(study: Study, cell: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: the cell {cell} has no recurrent matrix; remove it or .*$"):
        compose(study.overrides(f"model={cell}", key))


def test_recurrent_dropout_is_executed_by_hand_unless_the_loop_of_equations_is_asked_for(study: Study) -> None:
    def ran(*more: str) -> tuple[str | None, set[str]]:
        record = bench.run(study.overrides("model=gru", "model.recurrent_dropout=0.2", "training.epochs=1", *more))
        assert record.status == "finished"
        return record.kernel, {name for name in record.kernel_operators or [] if name.startswith("bench::")}

    kernel, operators = ran()
    assert kernel == "step"
    assert operators == {"bench::loop_forward", "bench::loop_backward"}
    assert ran("model.kernel=torch") == ("torch", set())


@pytest.mark.parametrize("key", ["weight_drop", "recurrent_dropout"])
@pytest.mark.parametrize("value", ["1.0", "-0.1", "half"])
def test_what_is_no_probability_is_refused(study: Study, key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"^model.{key}={value}: should be"):
        compose(study.overrides("model=gru", f"model.{key}={value}"))


def test_weight_drop_changes_no_kernel(study: Study) -> None:
    record = bench.run(study.overrides("model=gru", "model.kernel=step", "model.weight_drop=0.4", "training.epochs=1"))
    assert {"bench::native_forward", "bench::loop_forward"} & set(record.kernel_operators or [])
