"""What a cell is to the rest of the program: its equation, how it is executed by hand, and how PyTorch stores it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.models.kernels.steps import Steps

State = tuple[Tensor, ...]
Step = Callable[..., State]  # (inputs, state, weight_hidden, bias_hidden, *further weights)
Saved = tuple[Tensor, ...]
Forward = Callable[[Steps, Tensor, Tensor, Tensor], tuple[Tensor, Saved]]
Backward = Callable[[Steps, Tensor, Tensor, Saved, Tensor], Tensor]

# σ' and tanh', from what the functions gave: g · y(1 − y) and g · (1 − y²).
sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


@dataclass(frozen=True)
class CellKind:
    """How a cell is executed. What it consists of, its gates and weights, is in `bench.declarations`.

    step: the equations, from (inputs, state, W_hh, b_hh) and the further weights that are declared.
    forward: all steps by hand, from the products of the inputs (time, batch, gates · hidden), which it overwrites,
        across = W_hh^T (hidden, gates · hidden), and the part of b_hh that is not in the products already, followed by
        further weights. Returns all states and what `backward` wants.
    backward: from the gradients of all states (time, batch, hidden), the states, what was saved, and W_hh, the
        gradients before the gates, (time, batch, columns · hidden); the first `gates` columns are the products'.
        Without these two, the equations are executed step by step under autograd.
    module: PyTorch's execution of the equations, where it has one.
    columns: blocks of hidden size that `backward` returns.
    hidden_columns: those (first, end) that hold the gradients of h W_hh^T.
    bias_columns: those that hold the gradients of b_hh; None: the same ones.
    additive: leading gates in which the products of input and state are simply added.
    gated: place among what was saved of a state that a gate has scaled, which the last of `hidden_columns` multiplies
        in the place of h; None: all multiply h.
    normalise: what is done to x W_ih^T before b_ih is added, with the first of the further weights.
    further_gradients: gradients of the other further weights, from columns, saved, W_hh, whether texts were read from
        their ends, and the state before the first step, () for zero.
    linear: of a cell whose state is a linear recurrence, h_t = a_t h_{t−1} + b_t: all a and b, (time, batch, hidden),
        from the products of the inputs. Such a cell has no `forward` and `backward`, but a parallel scan.
    carries: whether the output itself is carried to the next step, beside what products see of it; `step` then takes
        `exposed`, the latter. Else its first state is what products see.
    masked: whether `forward` and `backward` know recurrent dropout.
    compiled: whether the native recurrence (kernels/recurrence.cpp) knows it, too.
    """

    step: Step
    forward: Forward | None = None
    backward: Backward | None = None
    module: Callable[..., nn.RNNBase] | None = None
    columns: int = 0
    hidden_columns: tuple[tuple[int, int], ...] = ()
    additive: int = 0
    bias_columns: tuple[tuple[int, int], ...] | None = None
    gated: int | None = None
    normalise: Callable[[Tensor, Tensor], Tensor] | None = None
    further_gradients: Callable[[Tensor, Saved, Tensor, bool, State], tuple[Tensor, ...]] | None = None
    linear: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    carries: bool = False
    masked: bool = False
    compiled: bool = False
