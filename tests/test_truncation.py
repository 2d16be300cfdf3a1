"""Truncated backpropagation through time: gradients, what they cost, and which runs they change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import bench
from bench.compose import compose
from bench.config import ModelConfig
from bench.declarations import declared
from bench.errors import UserError
from bench.models.cells import CELLS
from bench.models.classifier import Classifier
from bench.models.encoder import RecurrentEncoder, TextClassifier, reversed_places
from bench.models.kernels.layers import StepLayer, build_direction
from bench.models.truncation import read_in_windows
from bench.runs.identity import resolve
from tests.conftest import Study
from tests.executions import EXECUTIONS, execution, kernel_of
from tests.test_kernels import Operators

ALL_EXECUTIONS = pytest.mark.parametrize("name", EXECUTIONS)
ALL_CELLS = pytest.mark.parametrize("cell", sorted(CELLS))
BOTH_DIRECTIONS = pytest.mark.parametrize("reverse", [False, True])
FULL = ["rnn", "gru", "lstm"]  # of what is not about equations, those that every execution has


def encoder_of(
    cell: str,
    name: str,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    input_size: int = 3,
    hidden_size: int = 4,
    largest: float = 0.7,
) -> RecurrentEncoder:
    """An encoder whose gradients do not vanish. largest: of its weights."""
    model = ModelConfig(cell=cell, hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional)
    encoder = RecurrentEncoder(model, input_size, hidden_size, kernel_of(name)).double()
    draw = torch.Generator().manual_seed(3)
    for weight in encoder.parameters():
        nn.init.uniform_(weight, -largest, largest, generator=draw)
    return encoder


@dataclasses.dataclass(frozen=True)
class Texts:
    """Padded texts, and the gradient of the states that an encoder makes of them, zero at padding."""

    inputs: Tensor
    lengths: Tensor
    grad_states: Tensor

    @classmethod
    def of(cls, lengths: list[int], features: int, input_size: int = 3, padding: int = 0) -> Texts:
        draw, time = torch.Generator().manual_seed(len(lengths)), max(lengths) + padding
        inputs = torch.randn(len(lengths), time, input_size, generator=draw, dtype=torch.float64)
        gradient = torch.randn(len(lengths), time, features, generator=draw, dtype=torch.float64)
        valid = torch.arange(time) < torch.tensor(lengths)[:, None]
        return cls(inputs, torch.tensor(lengths), gradient * valid[:, :, None])

    def gradients(self, encoder: RecurrentEncoder, name: str) -> list[Tensor]:
        """Valid states, then the gradients of the inputs and of all weights."""
        inputs = self.inputs.clone().requires_grad_()
        with execution(name):
            states = encoder(inputs, self.lengths)
            gradients = torch.autograd.grad(states, [inputs, *encoder.parameters()], self.grad_states)
        return [states.detach() * (self.grad_states != 0), *gradients]


def products_and_weights(direction: nn.Module, cell: str, values: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The products of one text's inputs, x W_ih^T + b_ih, and what a step takes beside it and the state."""
    weights = dict(direction.named_parameters())
    products = F.linear(values, weights["weight_ih_l0"])
    further = [weights[weight.name] for weight in declared(cell).further]
    normalise = CELLS[cell].normalise
    if normalise is not None:
        products, further = normalise(products, further[0]), further[1:]
    recurrent = [weights[key] for key in ("weight_hh_l0", "bias_hh_l0") if key in weights]
    return products + weights["bias_ih_l0"], [*recurrent, *further]


def read_plainly(direction: nn.Module, cell: str, values: Tensor, window: int) -> Tensor:
    """One text by its equations, detached after every window. (time, features) → (time, hidden)."""
    products, weights = products_and_weights(direction, cell, values[:, None])
    state = tuple(products.new_zeros(1, 4) for _ in range(declared(cell).states))
    states = []
    for time, product in enumerate(products):
        if time % window == 0:
            state = tuple(part.detach() for part in state)
        state = CELLS[cell].step(product, state, *weights)
        states.append(state[0][0])
    return torch.stack(states)


def by_plain_loops(encoder: RecurrentEncoder, cell: str, texts: Texts, window: int) -> list[Tensor]:
    """As `Texts.gradients`: every text by itself, without padding, and the gradient of the sum over texts."""
    inputs = texts.inputs.clone().requires_grad_()
    total, found = inputs.new_zeros(()), torch.zeros_like(texts.grad_states)
    for row, length in enumerate(texts.lengths.tolist()):
        states = inputs[row, :length]
        for layer in encoder.layers:
            parts = [read_plainly(layer.forward_direction, cell, states, window)]
            if layer.backward_direction is not None:
                parts.append(read_plainly(layer.backward_direction, cell, states.flip(0), window).flip(0))
            states = torch.cat(parts, dim=1)
        total = total + (states * texts.grad_states[row, :length]).sum()
        found[row, :length] = states.detach()
    return [found, *torch.autograd.grad(total, [inputs, *encoder.parameters()])]


# -- gradients --------------------------------------------------------------------------------------------------------


@ALL_EXECUTIONS
@ALL_CELLS
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    padding=st.integers(0, 2),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    window=st.integers(1, 10),
)
def test_gradients_are_those_of_a_plain_loop_that_detaches_its_state_after_every_window(
    cell: str, name: str, lengths: list[int], padding: int, num_layers: int, bidirectional: bool, window: int
) -> None:
    encoder = encoder_of(cell, name, num_layers=num_layers, bidirectional=bidirectional)
    texts = Texts.of(lengths, encoder.output_size, padding=padding)
    encoder.truncate(window)
    ours, expected = texts.gradients(encoder, name), by_plain_loops(encoder, cell, texts, window)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@ALL_EXECUTIONS
@ALL_CELLS
def test_a_window_cuts_something_and_one_as_long_as_the_longest_text_gives_the_same_bits_as_none(
    cell: str, name: str
) -> None:
    encoder = encoder_of(cell, name, num_layers=2, bidirectional=True)
    texts = Texts.of([7, 2, 5], encoder.output_size)
    whole = texts.gradients(encoder, name)
    for window in (7, 8, 1000):
        encoder.truncate(window)
        assert all(torch.equal(one, other) for one, other in zip(texts.gradients(encoder, name), whole, strict=True))
    encoder.truncate(3)
    cut = texts.gradients(encoder, name)
    torch.testing.assert_close(cut[0], whole[0], rtol=0, atol=1e-12)
    assert (cut[1] - whole[1]).abs().max() > 1e-3
    encoder.truncate(None)
    assert all(torch.equal(one, other) for one, other in zip(texts.gradients(encoder, name), whole, strict=True))


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", FULL)
def test_without_a_gradient_there_is_nothing_to_cut(cell: str, name: str) -> None:
    encoder = encoder_of(cell, name, bidirectional=True)
    texts = Texts.of([6, 4], encoder.output_size)
    found = []
    for window in (None, 2):
        encoder.truncate(window)
        with torch.no_grad(), execution(name):
            found.append(encoder(texts.inputs, texts.lengths))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1, :4], found[1][1, :4])


@ALL_EXECUTIONS
@BOTH_DIRECTIONS
@pytest.mark.parametrize("cell", FULL)
def test_a_state_sends_gradient_back_to_the_beginning_of_its_window_and_no_further(
    cell: str, reverse: bool, name: str
) -> None:
    window, lengths = 3, torch.tensor([8, 5])
    direction = build_direction(cell, kernel_of(name), 3, 4).double()
    for weight in direction.parameters():
        nn.init.uniform_(weight, -0.7, 0.7, generator=torch.Generator().manual_seed(1))
    inputs = Texts.of(lengths.tolist(), 4).inputs.transpose(0, 1).requires_grad_()
    order = reversed_places(lengths, 8) if reverse else None
    with execution(name):
        states = read_in_windows(direction, inputs, window, order)
        for text, length in enumerate(lengths.tolist()):
            for read in range(length):  # how many steps the text has read before
                place = length - 1 - read if reverse else read
                (gradient,) = torch.autograd.grad(states[place, text].sum(), inputs, retain_graph=True)
                reached = gradient[:, text].abs().sum(1)[:length] > 0
                in_reading_order = reached.flip(0) if reverse else reached
                assert in_reading_order.nonzero()[:, 0].tolist() == list(range(read // window * window, read + 1))
                assert not gradient[:, 1 - text].any()


@ALL_EXECUTIONS
@pytest.mark.parametrize("bidirectional", [False, True])
def test_with_the_last_state_only_a_texts_last_window_learns_anything(name: str, bidirectional: bool) -> None:
    model = ModelConfig(cell="gru", hidden_size=4, bidirectional=bidirectional, pooling="last")
    vectors = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    network = TextClassifier(
        model, 4, vectors, trainable_vectors=True, classes=2, seed=1, kernel=kernel_of(name)
    ).double()
    tokens, lengths = torch.arange(1, 12)[None], torch.tensor([11])  # a word of its own at each of eleven steps
    network.encoder.truncate(4)  # windows of the forward direction: 1 to 4, 5 to 8, 9 to 11
    with execution(name):
        network(tokens, lengths)[0, 0].backward()
    gradient = network.embedding.weight.grad
    assert gradient is not None
    learning = set((gradient.abs().sum(1) > 0).nonzero()[:, 0].tolist())
    assert learning == {9, 10, 11} | ({1, 2, 3} if bidirectional else set())


@pytest.mark.parametrize("name", EXECUTIONS[1:])
def test_windows_that_no_gradient_arrives_at_are_not_read_again(name: str) -> None:
    encoder = encoder_of("gru", name)
    encoder.truncate(4)
    texts = Texts.of([20, 20], 4)

    def recurrences(grad_states: Tensor) -> int:
        inputs = texts.inputs.clone().requires_grad_()
        with execution(name):
            states = encoder(inputs, texts.lengths)
            with Operators() as seen:
                torch.autograd.grad(states, [inputs, *encoder.parameters()], grad_states)
        return sum(operator == f"{name}_forward" for operator in seen.names)

    assert recurrences(texts.grad_states) == 5
    only_last = torch.zeros_like(texts.grad_states)
    only_last[:, -1] = texts.grad_states[:, -1]
    assert recurrences(only_last) == 1


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", FULL)
def test_mixed_precision_is_that_of_the_forward_pass(cell: str, name: str) -> None:
    encoder = encoder_of(cell, name, bidirectional=True, input_size=16, hidden_size=24, largest=0.2).float()
    texts = Texts.of([30, 22], encoder.output_size, input_size=16)
    encoder.truncate(8)

    def gradients(enabled: bool) -> list[Tensor]:
        inputs = texts.inputs.float().requires_grad_()
        with execution(name):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                states = encoder(inputs, texts.lengths)
            return list(
                torch.autograd.grad(states, [inputs, *encoder.parameters()], texts.grad_states.to(states.dtype))
            )

    for mixed, full in zip(gradients(True), gradients(False), strict=True):
        assert mixed.dtype is torch.float32
        assert not torch.equal(mixed, full), "the products were not taken in bfloat16"
        assert (mixed - full).norm() < 0.1 * full.norm()


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", FULL)
def test_frozen_vectors_and_weights_get_no_gradient(cell: str, name: str) -> None:
    encoder, texts = encoder_of(cell, name), Texts.of([6, 4], 4)
    encoder.truncate(2)
    expected = texts.gradients(encoder, name)[2:]
    frozen = encoder.layers[0].forward_direction.weight_ih_l0.requires_grad_(False)
    with execution(name):
        encoder(texts.inputs, texts.lengths).backward(texts.grad_states)
    assert frozen.grad is None
    for weight, gradient in list(zip(encoder.parameters(), expected, strict=True))[1:]:
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=1e-12)


# -- reading on from a given state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXECUTIONS[1:])
@ALL_CELLS
def test_a_text_read_in_two_parts_has_the_states_of_one_read_at_once(cell: str, name: str) -> None:
    layer = build_direction(cell, "step", 3, 5).double()
    if not isinstance(layer, StepLayer):
        pytest.skip(f"{cell} has no recurrence by hand")
    for weight in layer.parameters():
        nn.init.uniform_(weight, -0.7, 0.7, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    with torch.no_grad(), execution(name):
        whole, last = layer.read_from(inputs, ())
        first, state = layer.read_from(inputs[:3], ())
        second, after = layer.read_from(inputs[3:], tuple(part.clone() for part in state))
    assert len(state) == declared(cell).states
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)
    for one, other in zip(after, last, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", EXECUTIONS[1:])
@pytest.mark.parametrize("cell", FULL)
def test_from_a_given_state_states_and_gradients_equal_pytorchs(cell: str, name: str) -> None:
    stock = build_direction(cell, "torch", 3, 5).double()
    layer = build_direction(cell, "step", 3, 5).double()
    layer.load_state_dict(stock.state_dict())
    assert isinstance(layer, StepLayer)
    draw = torch.Generator().manual_seed(4)
    inputs, grad_states = (torch.randn(6, 7, size, dtype=torch.float64, generator=draw) for size in (3, 5))
    state = tuple(torch.randn(7, 5, dtype=torch.float64, generator=draw) for _ in range(declared(cell).states))
    given = [part[None] for part in state]
    expected, _ = stock(inputs.transpose(0, 1), tuple(given) if len(given) > 1 else given[0])
    with execution(name):
        states, _ = layer.read_from(inputs, state)
        ours = torch.autograd.grad(states, list(layer.parameters()), grad_states)
    torch.testing.assert_close(states, expected.transpose(0, 1), rtol=0, atol=1e-12)
    theirs = torch.autograd.grad(expected.transpose(0, 1), list(stock.parameters()), grad_states)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


# -- memory -----------------------------------------------------------------------------------------------------------

TIME, BATCH, WIDTH = 256, 32, 8  # weights are small beside the states


def saved_values(direction: nn.Module, window: int, name: str, reverse: bool) -> int:
    """How many values one direction keeps for its backward pass, beside its weights."""
    kept: list[int] = []
    inputs = torch.randn(TIME, BATCH, WIDTH, dtype=torch.float64, requires_grad=True)
    order = reversed_places(torch.full((BATCH,), TIME), TIME) if reverse else None
    weights = {weight.data_ptr() for weight in direction.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        kept.append(0 if tensor.data_ptr() in weights else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), execution(name):
        states = read_in_windows(direction, inputs, window, order)
    assert states.requires_grad
    return sum(kept)


@ALL_EXECUTIONS
@BOTH_DIRECTIONS
@pytest.mark.parametrize("cell", FULL)
def test_what_is_kept_are_the_inputs_and_the_states_at_borders(cell: str, reverse: bool, name: str) -> None:
    direction = build_direction(cell, kernel_of(name), WIDTH, WIDTH).double()
    for window in (1, 8, 64, 255):
        borders = -(-TIME // window) - 1
        order = TIME * BATCH if reverse else 0
        assert saved_values(direction, window, name, reverse) == (
            TIME * BATCH * WIDTH + borders * BATCH * WIDTH * declared(cell).states + order
        )


def allocations(work: Callable[[], object]) -> Iterator[int]:
    """Bytes that torch holds beside what lay there before, after each allocation and release."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events
    held = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        yield held


def peak_beside_inputs_and_states(cell: str, name: str, window: int | None) -> int:
    """Bytes that a forward and a backward pass hold at most, without the states and the gradient of the inputs."""
    encoder = encoder_of(cell, name, input_size=WIDTH, hidden_size=WIDTH)
    encoder.truncate(window)
    inputs = torch.randn(TIME, BATCH, WIDTH, dtype=torch.float64).transpose(0, 1).requires_grad_()
    gradient = torch.randn(TIME, BATCH, WIDTH, dtype=torch.float64).transpose(0, 1)
    lengths = torch.full((BATCH,), TIME)

    def work() -> None:
        with execution(name):
            torch.autograd.grad(encoder(inputs, lengths), [inputs, *encoder.parameters()], gradient)

    work()
    return max(allocations(work)) - 2 * 8 * TIME * BATCH * WIDTH


@ALL_EXECUTIONS
@pytest.mark.parametrize("cell", FULL)
def test_beside_inputs_and_states_memory_falls_in_proportion_to_the_window(cell: str, name: str) -> None:
    border, states = 8 * BATCH * WIDTH * declared(cell).states, 8 * TIME * BATCH * WIDTH  # bytes
    whole, half = (peak_beside_inputs_and_states(cell, name, window) for window in (None, TIME // 2))
    for window in (TIME // 4, TIME // 8):
        held = peak_beside_inputs_and_states(cell, name, window) - (TIME // window - 1) * border
        assert held / (half - border) == pytest.approx(window / (TIME // 2), rel=0.15)
        # A window has its own states, and its inputs' gradient, until they are in their places.
        assert held < 1.1 * (whole + 2 * states) * window / TIME


# -- runs -------------------------------------------------------------------------------------------------------------


def test_the_recipes_window_reaches_every_layer() -> None:
    recipe = compose(["training.schedule=constant", "training.tbptt=5"]).training
    model = ModelConfig(cell="gru", hidden_size=4, num_layers=2)
    network = TextClassifier(model, 4, torch.zeros(9, 3), trainable_vectors=True, classes=2, seed=0)
    Classifier(network, recipe, 2, 1, 0)
    assert [layer.window for layer in network.encoder.layers] == [5, 5]


def test_a_window_names_another_run_only_where_it_can_cut_something(study: Study) -> None:
    def run(*more: str) -> tuple[str, str, str]:
        resolved = resolve(compose(study.overrides("data.max_length=20", *more)))
        return resolved.run_id, resolved.pair_key, resolved.arm

    whole, cut = run(), run("training.tbptt=19")
    assert run("training.tbptt=20") == run("training.tbptt=1000") == run("training.tbptt=null") == whole
    assert all(one != other for one, other in zip(whole, cut, strict=True))
    assert cut != run("training.tbptt=5")


def test_a_run_in_windows_learns_takes_another_course_and_says_so(study: Study) -> None:
    cut, whole = (bench.run(study.overrides("model=lstm", "model.pooling=last", f"training.tbptt={window}"))
                  for window in ("4", "null"))  # fmt: skip
    assert cut.status == whole.status == "finished"
    assert (cut.config["training.tbptt"], whole.config["training.tbptt"]) == (4, None)
    assert cut.test_log_loss != whole.test_log_loss
    assert cut.validation_accuracy is not None
    assert cut.validation_accuracy > 0.5  # three equally frequent classes


@pytest.mark.parametrize("cell", ["bag", "attention"])
def test_what_does_not_recur_has_no_gradient_through_time_to_cut(cell: str) -> None:
    with pytest.raises(UserError, match=rf"training.tbptt=8 .*{cell} does not recur: .*model=gru") as refusal:
        compose([f"model={cell}", "training.tbptt=8"])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("window", ["0", "-3", "2.5"])
def test_a_window_has_at_least_one_token(window: str) -> None:
    with pytest.raises(UserError, match=r"training\.tbptt") as refusal:
        compose([f"training.tbptt={window}"])
    assert "\n" not in str(refusal.value)
