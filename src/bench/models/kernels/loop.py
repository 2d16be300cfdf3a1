"""The hand-written recurrences in PyTorch: any device, any floating type; the fallback where nothing is compiled.

Which operators a step takes, and its derivative, stand with each cell's equations in `models/cells`. Calls go through
`torch.ops.bench.loop_forward` and `loop_backward`, so that a profile shows what ran.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.models.cells import kind_of
from bench.models.kernels.steps import Steps

_LIBRARY = torch.library.Library("bench", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "loop_forward(str cell, Tensor(a!) products, Tensor weight_hidden, Tensor bias_hidden, Tensor? lengths,"
    " Tensor[] initial, Tensor? mask=None) -> (Tensor, Tensor[], Tensor[])"
)
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "loop_backward(str cell, Tensor grad_states, Tensor states, Tensor[] saved, Tensor weight_hidden, Tensor? lengths,"
    " Tensor? mask=None) -> Tensor"
)


def forward(
    cell: str,
    products: Tensor,
    weight_hidden: Tensor,
    bias_hidden: Tensor,
    lengths: Tensor | None,
    initial: tuple[Tensor, ...] = (),
    mask: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """All states of one direction, what `backward` wants to know, and the state after the last step that was read.

    products: (time, batch, gates · hidden) = x W_ih^T + b_ih, overwritten;  weight_hidden: (gates · hidden, hidden);
    bias_hidden: (gates · hidden,), or only what does not simply add to the products, then the cell's further weights;
    lengths: None to read from the first step to the last, else (batch,) int64 to read each text from its own last token
    to its first;  initial: the state before the first step, (batch, hidden) each, zero where there is none;
    mask: of recurrent dropout, (batch, hidden), through which products see the states.
    Returns states (time, batch, hidden), undefined at padding.
    """
    if len(bias_hidden) == len(weight_hidden):
        added = kind_of(cell).additive * weight_hidden.shape[1]
        products[:, :, :added] += bias_hidden[:added]
        bias_hidden = bias_hidden[added:]
    states, saved, after = torch.ops.bench.loop_forward(
        cell, products, weight_hidden, bias_hidden, lengths, list(initial), mask
    )
    return states, tuple(saved), tuple(after)


def backward(
    cell: str,
    grad_states: Tensor,
    states: Tensor,
    saved: tuple[Tensor, ...],
    weight_hidden: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None = None,
) -> Tensor:
    """Gradients before the gates, (time, batch, columns), from those of all states (time, batch, hidden).

    Columns are the gates', in the cell's order; a GRU has a fourth block: the gradient of the candidate's hidden
    product. Zero at padding where texts are read from their ends, else as zero as `grad_states` is there.
    """
    gradients: Tensor = torch.ops.bench.loop_backward(cell, grad_states, states, saved, weight_hidden, lengths, mask)
    return gradients


def _forward(
    cell: str,
    products: Tensor,
    weight_hidden: Tensor,
    bias_hidden: Tensor,
    lengths: Tensor | None,
    initial: list[Tensor],
    mask: Tensor | None,
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    steps = Steps(len(products), lengths, initial, mask)
    across = weight_hidden.T.contiguous()  # (hidden, gates · hidden): a transposed view is slower at every step
    by_hand = kind_of(cell).forward
    assert by_hand is not None  # else the cell's equation would be followed (layers.py)
    states, saved = by_hand(steps, products, across, bias_hidden)
    return states, saved, steps.state_after()


def _backward(
    cell: str,
    grad_states: Tensor,
    states: Tensor,
    saved: tuple[Tensor, ...],
    weight_hidden: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    steps = Steps(len(states), lengths, mask=mask)
    by_hand = kind_of(cell).backward
    assert by_hand is not None
    return by_hand(steps, grad_states, states, tuple(saved), weight_hidden)


_LIBRARY.impl("loop_forward", _forward, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
_LIBRARY.impl("loop_backward", _backward, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
