"""A cell's equation followed step by step under autograd: where neither PyTorch nor this program has more of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.declarations import DECLARED, declared
from bench.errors import UserError
from bench.models.cells import CellKind, kind_of
from bench.models.cells.kinds import State

_BATCH = 3  # of the trial step


def prepared(direction: nn.Module, cell: str, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a cell's step takes, from the weights of one direction of one layer, whatever executes it.

    inputs: (..., input) → the products of the inputs with their bias, (..., gates · hidden), and W_hh, b_hh and the
    further weights, as far as the cell has them.
    """
    weights, normalise = dict(direction.named_parameters()), kind_of(cell).normalise
    further = tuple(weights[weight.name] for weight in declared(cell).further)
    products = F.linear(inputs, weights["weight_ih_l0"])
    if normalise is not None:
        products, further = normalise(products, further[0]), further[1:]
    recurrent = (weights[name] for name in ("weight_hh_l0", "bias_hh_l0") if name in weights)
    return products + weights["bias_ih_l0"], (*recurrent, *further)


def zero_state(cell: str, products: Tensor) -> State:
    """What a cell holds before its first step. products: of one step, (batch, gates · hidden)."""
    declaration = declared(cell)
    return (products.new_zeros(len(products), products.shape[1] // declaration.gates),) * declaration.states


def follow(
    kind: CellKind,
    inputs: Tensor,
    state: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    mask: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All states, (time, batch, hidden), and the state after the last step.

    inputs: (time, batch, gates · hidden), products of the inputs with their bias;  state: before the first step, of
    (batch, hidden) each;  weights: W_hh, b_hh and what else the cell's step takes;  mask: of recurrent dropout,
    (batch, hidden), through which products see the output of the step before.
    """
    states = []
    for values in inputs.unbind(0):
        if mask is None:
            state = kind.step(values, state, *weights)
        elif kind.carries:
            state = kind.step(values, state, *weights, exposed=state[0] * mask)
        else:
            state = kind.step(values, (state[0] * mask, *state[1:]), *weights)
        states.append(state[0])
    return torch.stack(states), state


def check_step(cell: str, kind: CellKind, bias: Tensor, hidden: int, weights: tuple[Tensor, ...]) -> None:
    """Try one step of another package's cell on zeros, whose shapes nobody here has tested.

    bias: (gates · hidden,);  weights: what the step takes beside inputs and state.

    Raises: `UserError`, one line, if it fails or gives something else than declared.
    """
    if cell in DECLARED:
        return
    declaration = declared(cell)
    inputs, state = bias.new_zeros(_BATCH, len(bias)), bias.new_zeros(_BATCH, hidden)
    weights = tuple(torch.zeros_like(weight) for weight in weights)
    told = f"model.cell={cell}: one step, declared with gates={declaration.gates} and states={declaration.states},"
    try:
        with torch.no_grad():
            after = kind.step(inputs, (state,) * declaration.states, *weights)
    except Exception as error:
        raise UserError(f"{told} fails: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    found = [tuple(part.shape) for part in after] if isinstance(after, tuple) else None
    if found != [(_BATCH, hidden)] * declaration.states:
        given = "no tuple of tensors" if found is None else f"tensors of {', '.join(map(str, found))}"
        raise UserError(f"{told} gave {given}, and not {declaration.states} of (batch, hidden) = {(_BATCH, hidden)}")
