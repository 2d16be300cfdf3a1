"""`model.kernel=step` says what PyTorch's modules say: states, all gradients, training; by the loop and compiled."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.config import ModelConfig
from bench.declarations import DECLARED, CellDeclaration, declared
from bench.models.cells import CELLS, CellKind
from bench.models.encoder import RecurrentEncoder, TextClassifier, reverse_within
from bench.models.kernels.layers import StepLayer, build_direction
from bench.models.kernels.steps import Steps
from tests.conftest import ROOT
from tests.executions import STEP_EXECUTIONS, execution
from tests.operators import Operators

BY_HAND = sorted(cell for cell, kind in CELLS.items() if kind.forward is not None)
ALL_CELLS = pytest.mark.parametrize("cell", BY_HAND)
ALL_EXECUTIONS = pytest.mark.parametrize("name", STEP_EXECUTIONS)
BOTH_DIRECTIONS = pytest.mark.parametrize("reverse", [False, True])


@dataclass(frozen=True)
class Pair:
    """One direction of one layer in both kernels, with the same weights; inputs and the gradient of the states.

    stock: PyTorch's module, or where there is none the equation under autograd.
    """

    step: StepLayer
    stock: nn.Module
    inputs: Tensor
    lengths: Tensor
    grad_states: Tensor

    @classmethod
    def of(cls, cell: str, lengths: list[int], input_size: int = 3, hidden_size: int = 5, padding: int = 0) -> Pair:
        torch.manual_seed(len(lengths) * 100 + hidden_size)
        stock = build_direction(cell, "torch", input_size, hidden_size).double()
        for weight in stock.parameters():
            nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)
        step = StepLayer(cell, input_size, hidden_size).double()
        step.load_state_dict(stock.state_dict())
        shape, steps = (len(lengths), max(lengths) + padding), torch.arange(max(lengths) + padding)
        valid = (steps < torch.tensor(lengths)[:, None])[:, :, None]
        inputs = torch.randn(*shape, input_size, dtype=torch.float64)
        grad_states = torch.randn(*shape, hidden_size, dtype=torch.float64) * valid
        return cls(step, stock, inputs, torch.tensor(lengths), grad_states)

    def by_step(self, inputs: Tensor, reverse: bool) -> Tensor:
        states: Tensor = self.step(inputs, self.lengths, reverse)
        return states

    def by_stock(self, inputs: Tensor, reverse: bool) -> Tensor:
        states, _ = self.stock(reverse_within(inputs, self.lengths) if reverse else inputs)
        return reverse_within(states, self.lengths) if reverse else states

    def results(self, layer: nn.Module, read: Callable[[Tensor, bool], Tensor], reverse: bool) -> list[Tensor]:
        """States where they are defined, then the gradients of the inputs and of all weights."""
        inputs = self.inputs.clone().requires_grad_()
        states = read(inputs, reverse)
        defined = (self.grad_states != 0).any(dim=2, keepdim=True)
        gradients = torch.autograd.grad(states, [inputs, *layer.parameters()], self.grad_states)
        return [states * defined, *gradients]


lengths_strategy = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@ALL_EXECUTIONS
@settings(max_examples=60, deadline=None)
@given(
    lengths=lengths_strategy,
    padding=st.integers(0, 3),
    sizes=st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 5, 8, 17])),
    cell=st.sampled_from(BY_HAND),
    reverse=st.booleans(),
)
def test_states_and_all_gradients_equal_pytorchs(
    name: str, lengths: list[int], padding: int, sizes: tuple[int, int], cell: str, reverse: bool
) -> None:
    pair = Pair.of(cell, lengths, *sizes, padding=padding)
    with execution(name):
        ours = pair.results(pair.step, pair.by_step, reverse)
    expected = pair.results(pair.stock, pair.by_stock, reverse)
    assert len(ours) == 6 + len(declared(cell).further)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@ALL_EXECUTIONS
@ALL_CELLS
def test_long_texts_span_several_blocks_of_factors(name: str, cell: str) -> None:
    pair = Pair.of(cell, [300, 1, 299], input_size=2, hidden_size=200)
    with execution(name):
        ours = pair.results(pair.step, pair.by_step, True)
    for one, other in zip(ours, pair.results(pair.stock, pair.by_stock, True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@ALL_EXECUTIONS
@ALL_CELLS
def test_stacks_of_either_kernel_agree_with_each_others_weights(
    cell: str, name: str, num_layers: int, bidirectional: bool
) -> None:
    model = ModelConfig(cell=cell, hidden_size=4, num_layers=num_layers, bidirectional=bidirectional)  # type: ignore[arg-type]
    stock = RecurrentEncoder(model, 3, 4, "torch").double()
    for weight in stock.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    step = RecurrentEncoder(model, 3, 4, "step").double()
    step.load_state_dict(stock.state_dict())
    stock.load_state_dict(step.state_dict())
    lengths = torch.tensor([6, 1, 4])
    valid = (torch.arange(8) < lengths[:, None])[:, :, None]
    values = torch.randn(3, 8, 3, dtype=torch.float64)
    found = []
    for encoder in (stock, step):
        inputs = values.clone().requires_grad_()
        with execution(name):
            states = encoder(inputs, lengths) * valid
            states.square().sum().backward()
        found.append([states, inputs.grad, *(weight.grad for weight in encoder.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@ALL_EXECUTIONS
@BOTH_DIRECTIONS
@ALL_CELLS
def test_gradients_are_the_derivative(cell: str, reverse: bool, name: str) -> None:
    pair = Pair.of(cell, [4, 2, 3], input_size=2, hidden_size=3, padding=1)
    valid = (pair.grad_states != 0).any(dim=2, keepdim=True)
    names = [weight for weight, _ in pair.step.named_parameters()]

    def states(inputs: Tensor, *weights: Tensor) -> Tensor:
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(pair.step, given, (inputs, pair.lengths, reverse)) * valid  # type: ignore[no-any-return]

    weights = [weight.detach().clone().requires_grad_() for weight in pair.step.parameters()]
    with execution(name):
        assert torch.autograd.gradcheck(states, (pair.inputs.clone().requires_grad_(), *weights))


@ALL_EXECUTIONS
@ALL_CELLS
def test_a_second_derivative_is_refused(cell: str, name: str) -> None:
    pair = Pair.of(cell, [3])
    inputs = pair.inputs.clone().requires_grad_()
    with execution(name):
        (gradient,) = torch.autograd.grad(pair.by_step(inputs, False).square().sum(), inputs, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            gradient.sum().backward()


@ALL_EXECUTIONS
@ALL_CELLS
def test_operators_say_which_execution_ran(cell: str, name: str) -> None:
    pair = Pair.of(cell, [6, 5])
    inputs = pair.inputs.clone().requires_grad_()
    with execution(name), Operators() as seen:
        pair.by_step(inputs, False).sum().backward()
    ran = name if CELLS[cell].compiled else "loop"
    own = [operator for operator in seen.names if re.fullmatch("(loop|native)_(forward|backward)", operator)]
    assert own == [f"{ran}_forward", f"{ran}_backward"]


@ALL_EXECUTIONS
@ALL_CELLS
def test_frozen_vectors_and_weights_cost_no_product(cell: str, name: str) -> None:
    def products(inputs: Tensor) -> int:
        pair.step.zero_grad()
        with execution(name), Operators() as seen:
            pair.by_step(inputs, False).sum().backward()
        return sum(operator in ("mm", "addmm") for operator in seen.names)

    pair = Pair.of(cell, [6, 5])
    all_of_them = products(pair.inputs.clone().requires_grad_())
    assert products(pair.inputs) == all_of_them - 1
    pair.step.weight_ih_l0.requires_grad_(False)
    assert products(pair.inputs) == all_of_them - 2
    assert pair.step.weight_ih_l0.grad is None
    assert pair.step.weight_hh_l0.grad is not None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@ALL_EXECUTIONS
@BOTH_DIRECTIONS
@ALL_CELLS
def test_evaluation_gives_the_same_states_and_keeps_nothing(
    cell: str, reverse: bool, name: str, mode: Callable[[], Any]
) -> None:
    pair = Pair.of(cell, [5, 3])
    with execution(name):
        trained = pair.by_step(pair.inputs, reverse)
        with mode():
            evaluated = pair.by_step(pair.inputs, reverse)
    assert trained.requires_grad
    assert evaluated.grad_fn is None
    assert torch.equal(trained[0], evaluated[0])
    assert torch.equal(trained[1, :3], evaluated[1, :3])


def kept(cell: str, name: str, time: int) -> tuple[int, int]:
    """How many tensors, and how many values, a forward pass keeps for the backward one."""
    pair = Pair.of(cell, [time, time], input_size=3, hidden_size=4)
    sizes = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()), lambda size: size)
    with hooks, execution(name):
        states = pair.by_step(pair.inputs, False)
    assert states.requires_grad
    return len(sizes), sum(sizes)


@ALL_EXECUTIONS
@ALL_CELLS
def test_a_fixed_number_of_tensors_is_kept_however_long_the_text(cell: str, name: str) -> None:
    short, long = kept(cell, name, 10), kept(cell, name, 1000)
    norms = CELLS[cell].normalise is not None  # what autograd keeps of the inputs' norm and product comes on top
    assert short[0] == long[0] <= (14 if norms else 9)
    width = 3 + 4 * (4 + 4)  # inputs, at most four gates and four further blocks of the hidden size
    width += 4 * (4 + 3) if norms else 0
    assert long[1] - short[1] <= 990 * 2 * width


@ALL_EXECUTIONS
@BOTH_DIRECTIONS
@ALL_CELLS
def test_repeating_gives_the_same_bits(cell: str, reverse: bool, name: str) -> None:
    pair = Pair.of(cell, [40, 17, 33], input_size=20, hidden_size=37, padding=2)
    layer = pair.step.float()
    inputs, grad_states = pair.inputs.float().requires_grad_(), pair.grad_states.float()
    with execution(name):
        states = layer(inputs, pair.lengths, reverse)
        both = [
            torch.autograd.grad(states, [inputs, *layer.parameters()], grad_states, retain_graph=True),
            torch.autograd.grad(layer(inputs, pair.lengths, reverse), [inputs, *layer.parameters()], grad_states),
            torch.autograd.grad(states, [inputs, *layer.parameters()], grad_states),
        ]
    for once, again, retained in zip(*both, strict=True):
        assert torch.equal(once, again)
        assert torch.equal(once, retained)


@ALL_EXECUTIONS
@ALL_CELLS
def test_gradients_of_the_two_biases_do_not_share_memory(cell: str, name: str) -> None:
    pair = Pair.of(cell, [4, 4])
    with execution(name):
        pair.by_step(pair.inputs, False).sum().backward()
    one, other = pair.step.bias_ih_l0.grad, pair.step.bias_hh_l0.grad
    assert one is not None
    assert other is not None
    before = other.clone()
    one.zero_()
    assert other.abs().sum() > 0
    assert torch.equal(other, before)


@ALL_EXECUTIONS
@ALL_CELLS
def test_memory_order_of_the_inputs_makes_no_difference_and_states_are_time_major(cell: str, name: str) -> None:
    pair = Pair.of(cell, [7, 4])
    other_order = pair.inputs.transpose(0, 1).contiguous().transpose(0, 1)
    with execution(name):
        states, other = pair.by_step(pair.inputs, True), pair.by_step(other_order, True)
    assert torch.equal(states[0], other[0])
    assert torch.equal(states[1, :4], other[1, :4])
    assert states.transpose(0, 1).is_contiguous()


@ALL_EXECUTIONS
@ALL_CELLS
def test_mixed_precision_stays_near_full_precision(cell: str, name: str) -> None:
    pair = Pair.of(cell, [30, 22], input_size=16, hidden_size=24)
    layer, inputs = pair.step.float(), pair.inputs.float().requires_grad_()
    with execution(name):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = layer(inputs, pair.lengths, True)
        gradients = torch.autograd.grad(mixed, [inputs, *layer.parameters()], pair.grad_states.float())
        full = layer(inputs, pair.lengths, True)
        expected = torch.autograd.grad(full, [inputs, *layer.parameters()], pair.grad_states.float())
    assert mixed.dtype is torch.float32
    assert not torch.equal(mixed[0], full[0]), "the products were not taken in bfloat16"
    torch.testing.assert_close(mixed[0], full[0], rtol=0, atol=2e-2)
    for gradient, exact in zip(gradients, expected, strict=True):
        assert gradient.dtype is torch.float32
        off = 0.2 if cell == "rnn_relu" else 0.02  # where a unit near zero changes sides, its gradient comes or goes
        assert (gradient - exact).norm() < off * exact.norm()


@pytest.mark.parametrize("bidirectional", [False, True])
@ALL_CELLS
def test_both_kernels_start_from_the_same_weights(cell: str, bidirectional: bool) -> None:
    model = ModelConfig(cell=cell, hidden_size=6, num_layers=2, bidirectional=bidirectional)  # type: ignore[arg-type]
    build = partial(TextClassifier, model, 6, torch.zeros(9, 4), trainable_vectors=True, classes=2, seed=3)
    stock, step = build(kernel="torch").state_dict(), build(kernel="step").state_dict()
    assert stock.keys() == step.keys()
    assert all(torch.equal(weight, step[key]) for key, weight in stock.items())


@pytest.mark.parametrize("bidirectional", [False, True])
@ALL_EXECUTIONS
@ALL_CELLS
def test_training_takes_the_same_course_in_both_kernels(cell: str, name: str, bidirectional: bool) -> None:
    model = ModelConfig(cell=cell, hidden_size=6, bidirectional=bidirectional)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(5)
    vectors = torch.randn(30, 4, generator=draw, dtype=torch.float64)
    tokens, labels = torch.randint(1, 30, (8, 9), generator=draw), torch.randint(0, 2, (8,), generator=draw)
    lengths = torch.randint(1, 10, (8,), generator=draw)
    courses = []
    for kernel in ("torch", "step"):
        network = TextClassifier(
            model, 6, vectors.clone(), trainable_vectors=True, classes=2, seed=3, kernel=kernel
        ).double()  # type: ignore[arg-type]
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        losses = []
        for _ in range(20):
            with execution(name):
                loss = F.cross_entropy(network(tokens, lengths), labels)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            losses.append(loss.item())
        courses.append(losses)
    assert courses[0][-1] < 0.8 * courses[0][0]
    assert courses[1] == pytest.approx(courses[0], abs=1e-6)


@ALL_EXECUTIONS
def test_processes_that_train_together_average_its_gradients(name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.executions", name, str(rank), str(port)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    answers = [process.communicate(timeout=240) for process in started]
    assert [answer[0].strip() for answer in answers] == ["equal", "equal"], answers


def sine_step(inputs: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    return (torch.sin(inputs + state[0] @ weight.T + bias),)


def sine_forward(steps: Steps, products: Tensor, across: Tensor, bias: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    states, before = steps.history(products, len(across))
    for time, (gate, hidden, after) in steps.read(products, before, states):
        torch.sin(gate.addmm_(hidden, across), out=after)
        steps.hold(time, after)
    return states, (products,)


def sine_backward(
    steps: Steps, grad_states: Tensor, states: Tensor, saved: tuple[Tensor, ...], weight: Tensor
) -> Tensor:
    gradients, later = torch.empty_like(states), torch.zeros_like(states[0])
    for time, (grad, angle, gate) in steps.unread(grad_states, saved[0], gradients):
        grad_hidden = torch.addmm(grad, later, weight)
        steps.hold(time, grad_hidden)
        later = torch.mul(grad_hidden, angle.cos(), out=gate)
    return gradients


@BOTH_DIRECTIONS
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_new_cell_is_its_equation_and_perhaps_two_functions(
    by_hand: bool, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = CellKind(sine_step, sine_forward, sine_backward, columns=1, hidden_columns=((0, 1),), additive=1)
    monkeypatch.setitem(CELLS, "sine", written if by_hand else CellKind(sine_step))
    monkeypatch.setitem(DECLARED, "sine", CellDeclaration(gates=1))  # type: ignore[arg-type]
    assert isinstance(build_direction("sine", "step", 3, 5), StepLayer) is by_hand
    model = ModelConfig(cell="sine", hidden_size=5, bidirectional=reverse)
    built = [RecurrentEncoder(model, 3, 5, kernel).double() for kernel in ("torch", "step")]
    for weight in built[0].parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    built[1].load_state_dict(built[0].state_dict())
    lengths, values = torch.tensor([5, 2, 4]), torch.randn(3, 6, 3, dtype=torch.float64)
    valid = (torch.arange(6) < lengths[:, None])[:, :, None]
    found = []
    for encoder in built:
        inputs = values.clone().requires_grad_()
        with Operators() as seen:
            states = encoder(inputs, lengths) * valid
            states.square().sum().backward()
        found.append([states, inputs.grad, *(weight.grad for weight in encoder.parameters())])
    assert ("loop_backward" in seen.names) is by_hand
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
