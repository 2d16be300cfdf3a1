"""One direction of one layer under `model.kernel=step`: what stands around the recurrence, and its derivative.

The products of all inputs are one matrix product before the recurrence, each weight's gradient is one after it, and no
graph is kept per step. The recurrence itself is `native` (compiled, float32 and float64 on the CPU) where that can be
had, else `loop` (PyTorch's operators, any device); the environment variable BENCH_KERNEL=loop asks for the latter.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.declarations import declared
from bench.models.cells import kind_of
from bench.models.cells.kinds import State
from bench.models.kernels import loop, native


class Weights(NamedTuple):
    """Of one direction, gates in PyTorch's order: W_ih (gates · hidden, features), W_hh (gates · hidden, hidden), b.

    input: None where the inputs are products already;  further: what the cell's recurrence takes beside these.
    """

    input: Tensor | None
    hidden: Tensor
    bias_input: Tensor
    bias_hidden: Tensor
    further: tuple[Tensor, ...] = ()


def recurrence(
    cell: str, inputs: Tensor, weights: Weights, lengths: Tensor | None, mask: Tensor | None = None
) -> Tensor:
    """States of every step of one direction, differentiable once. Undefined at padding.

    inputs: (time, batch, features), any strides;  lengths: None to read from the first step to the last, else (batch,)
    to read each text from its own last token to its first. Returns (time, batch, hidden), of the weights' type. Under
    `torch.autocast` the products of inputs and of gradients are taken in its type, the recurrence in the weights'.
    mask: of recurrent dropout, (batch, hidden), which the loop knows.
    """
    return _states(cell, inputs, weights, lengths, (), mask)[0]


def recurrence_from(
    cell: str, inputs: Tensor, weights: Weights, initial: State, mask: Tensor | None = None
) -> tuple[Tensor, State]:
    """As `recurrence`, read from the first step to the last, and the state after it; () where a gradient is recorded.

    initial: the state before the first step, (batch, hidden) each: a constant; () for zero.
    """
    return _states(cell, inputs, weights, None, initial, mask)


def _states(
    cell: str, inputs: Tensor, weights: Weights, lengths: Tensor | None, initial: State, mask: Tensor | None
) -> tuple[Tensor, State]:
    device = inputs.device.type
    reduced = weights.input is not None and torch.is_autocast_enabled(device)
    product_type = torch.get_autocast_dtype(device) if reduced else weights.hidden.dtype
    flat = (*weights[:4], *weights.further)
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (inputs, *flat) if tensor is not None):
            return _Recurrence.apply(cell, product_type, lengths, initial, mask, inputs, *flat), ()  # type: ignore[no-untyped-call]
        compiled = _compiled(cell, weights, mask)
        states, _, after = _run(cell, inputs.to(product_type), weights, lengths, initial, mask, compiled)
        return states, after


def _compiled(cell: str, weights: Weights, mask: Tensor | None) -> bool:
    weight = weights.hidden
    return mask is None and kind_of(cell).compiled and native.handles(weight) and native.available(weight.dtype)


def _run(
    cell: str,
    inputs: Tensor,
    weights: Weights,
    lengths: Tensor | None,
    initial: State,
    mask: Tensor | None,
    compiled: bool,
) -> tuple[Tensor, tuple[Tensor, ...], State]:
    """States, what the backward pass wants, and the state after the last step.

    Biases are added where that costs nothing: on the way, or once.
    """
    if compiled:
        bias, rest = _gathered(cell, weights.bias_hidden, weights.bias_input)
        products = _products(inputs, weights.input, None).to(bias.dtype)
        biases = torch.cat([bias, rest, *weights.further])
        states, saved = native.forward(cell, products, weights.hidden, biases, lengths, initial)
        return states, saved, native.state_after(cell, states, saved)
    bias, rest = _gathered(cell, weights.bias_input, weights.bias_hidden)
    products = _products(inputs, weights.input, bias.to(inputs.dtype)).to(rest.dtype)
    return loop.forward(cell, products, weights.hidden, torch.cat([rest, *weights.further]), lengths, initial, mask)


def _products(inputs: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The products x W_ih^T + b, in new memory; without weights, inputs are such products already."""
    if weight is not None:
        return F.linear(inputs, weight.to(inputs.dtype), bias)
    return inputs.clone() if bias is None else inputs + bias


def _gathered(cell: str, bias: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """One bias with all of the other that simply adds to it, and the rest of the other."""
    gates = kind_of(cell).additive * len(other) // declared(cell).gates
    return torch.cat([bias[:gates] + other[:gates], bias[gates:]]), other[gates:]


class _Recurrence(torch.autograd.Function):
    """`recurrence` with its derivative by hand."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        product_type: torch.dtype,
        lengths: Tensor | None,
        initial: State,
        mask: Tensor | None,
        inputs: Tensor,
        *weights: Any,
    ) -> Tensor:
        given = Weights(*weights[:4], further=weights[4:])
        read = inputs.to(product_type).contiguous()
        ctx.cell, ctx.input_type, ctx.product_type = cell, inputs.dtype, product_type
        ctx.initial, ctx.mask, ctx.compiled = initial, mask, _compiled(cell, given, mask)
        states, saved, _ = _run(cell, read, given, lengths, initial, mask, ctx.compiled)
        kept = None if given.input is None else read
        ctx.save_for_backward(lengths, kept, states, given.input, given.hidden, *saved)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        lengths, read, states, weight_input, weight_hidden, *saved = ctx.saved_tensors
        needs = ctx.needs_input_grad[5:]
        needs_inputs, needs_weight, needs_hidden, needs_bias, needs_hidden_bias, *needs_further = needs
        backward = (
            partial(native.backward, initial=ctx.initial) if ctx.compiled else partial(loop.backward, mask=ctx.mask)
        )
        columns = backward(ctx.cell, grad_states.contiguous(), states, tuple(saved), weight_hidden, lengths)
        reduced, backwards = columns.to(ctx.product_type), lengths is not None
        products = reduced[:, :, : len(weight_hidden)].flatten(0, 1)
        biases = _bias_gradients(ctx.cell, columns) if needs_bias or needs_hidden_bias else (None, None)
        return (
            *(None,) * 5,
            _input_gradient(products, weight_input, states).to(ctx.input_type) if needs_inputs else None,
            _product_gradient(products, read.flatten(0, 1)).to(weight_input.dtype) if needs_weight else None,
            _hidden_gradient(ctx.cell, reduced, states, saved, backwards, ctx.initial, ctx.mask)
            if needs_hidden else None,
            biases[0] if needs_bias else None,
            biases[1] if needs_hidden_bias else None,
            *(_further_gradients(ctx.cell, columns, saved, weight_hidden, backwards, ctx.initial)
              if any(needs_further) else (None,) * len(needs_further)),
        )  # fmt: skip


def _input_gradient(products: Tensor, weight_input: Tensor | None, states: Tensor) -> Tensor:
    """Of the inputs, (time, batch, features), from that of their products, (time · batch, gates · hidden)."""
    gradients = products if weight_input is None else products @ weight_input.to(products.dtype)
    return gradients.view(*states.shape[:2], -1)


def _further_gradients(
    cell: str, columns: Tensor, saved: list[Tensor], weight_hidden: Tensor, backwards: bool, initial: State
) -> tuple[Tensor, ...]:
    """Of what the cell's recurrence takes beside matrices and biases."""
    gradients = kind_of(cell).further_gradients
    assert gradients is not None
    return gradients(columns, tuple(saved), weight_hidden, backwards, initial)


def _hidden_gradient(
    cell: str,
    columns: Tensor,
    states: Tensor,
    saved: list[Tensor],
    backwards: bool,
    initial: State,
    mask: Tensor | None,
) -> Tensor:
    """The gradient of W_hh: what each step's gates ask of the state before it; before the first step it was initial."""
    states, first = (states, initial[:1]) if mask is None else (states * mask, tuple(h * mask for h in initial[:1]))
    kind, asked = kind_of(cell), _blocks(cell, columns, kind_of(cell).hidden_columns)
    gated = None if kind.gated is None else _product_gradient(
        asked.pop().flatten(0, 1), saved[kind.gated].to(columns.dtype).flatten(0, 1)
    )  # fmt: skip
    before, after = (slice(1, None), slice(None, -1)) if backwards else (slice(None, -1), slice(1, None))
    state = states[before].to(columns.dtype).flatten(0, 1)
    parts = [_product_gradient(part[after].flatten(0, 1), state) for part in asked]
    if first:
        parts = [
            part + _product_gradient(gate[0], first[0].to(gate.dtype)) for part, gate in zip(parts, asked, strict=True)
        ]
    parts += [] if gated is None else [gated]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(states.dtype)


def _product_gradient(gradients: Tensor, values: Tensor) -> Tensor:
    """gradients^T values, (rows, columns) and (rows, features) → (columns, features); faster in this order on CPUs."""
    return (values.T @ gradients).T.contiguous()


def _bias_gradients(cell: str, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of b_ih and b_hh, from one reduction: they differ only where a gate stands between the hidden product and h."""
    sums = (columns.new_ones(1, columns[..., 0].numel()) @ columns.flatten(0, 1))[0]
    kind = kind_of(cell)
    hidden = torch.cat(_blocks(cell, sums, kind.hidden_columns if kind.bias_columns is None else kind.bias_columns))
    return sums[: len(hidden)], hidden


def _blocks(cell: str, columns: Tensor, places: tuple[tuple[int, int], ...]) -> list[Tensor]:
    """Some blocks of hidden size. columns: (..., columns · hidden);  places: (first, end) of each."""
    width = columns.shape[-1] // kind_of(cell).columns
    return [columns[..., first * width : end * width] for first, end in places]
