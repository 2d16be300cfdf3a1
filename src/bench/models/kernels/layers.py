"""One direction of one recurrent layer, under either execution; parameters have the same names and shapes in both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.config import Kernel
from bench.declarations import declared
from bench.models.cells import CellKind, kind_of
from bench.models.cells.kinds import State
from bench.models.kernels.equations import check_step, follow
from bench.models.kernels.recurrence import Weights, recurrence, recurrence_from
from bench.models.kernels.scan import scan


class CellLayer(nn.Module):
    """The parameters of one direction of one layer, named and ordered as PyTorch's modules have them.

    weight_ih_l0 (gates · hidden, input), weight_hh_l0 (gates · hidden, hidden), bias_ih_l0 and bias_hh_l0
    (gates · hidden,), and the further weights that the cell declares, (values per unit · hidden,) each. A cell without
    recurrent matrix has no weight_hh_l0, and one with a single bias no bias_hh_l0.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        declaration = declared(cell)
        rows = declaration.gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        if declaration.recurrent_matrix:
            self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        if declaration.biases > 1:
            self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        self.further_names = tuple(weight.name for weight in declaration.further)
        for weight in declaration.further:
            self.register_parameter(weight.name, nn.Parameter(torch.empty(weight.per_unit * hidden_size)))

    def recurrent(self) -> tuple[Tensor, ...]:
        """W_hh and b_hh, as far as the cell has them."""
        return tuple(getattr(self, name) for name in ("weight_hh_l0", "bias_hh_l0") if name in self._parameters)

    def further(self) -> tuple[Tensor, ...]:
        """The weights that are neither matrices nor the two biases, as declared."""
        return tuple(getattr(self, name) for name in self.further_names)

    def step_weights(self) -> tuple[Tensor, ...]:
        """What the cell's step takes beside inputs and state."""
        return (*self.recurrent(), *self.further()[kind_of(self.cell).normalise is not None :])


class StepLayer(CellLayer):
    """Executed by the project's own recurrence (`model.kernel=step`)."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, *, masked: bool = False) -> None:
        """masked: for recurrent dropout, which the loop knows; it then runs in evaluation, too."""
        super().__init__(cell, input_size, hidden_size)
        self.masked = masked

    def forward(self, inputs: Tensor, lengths: Tensor, reverse: bool = False, mask: Tensor | None = None) -> Tensor:
        """States of every step; those at padding are undefined. (batch, time, input) → (batch, time, hidden).

        reverse: each text is read from its own last token to its first. Both tensors cost nothing to transpose where
        the inputs lie time-major in memory; the states always do. mask: of recurrent dropout, (batch, hidden).
        """
        values, weights = self._prepared(inputs.transpose(0, 1))
        seen = self._seen(mask, len(inputs))
        return recurrence(self.cell, values, weights, lengths if reverse else None, seen).transpose(0, 1)

    def read_from(self, inputs: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """States of every step from a given state, () for zero, and the state after; see `recurrence_from`.

        inputs: (time, batch, input), read from the first step to the last;  states: (time, batch, hidden).
        """
        return recurrence_from(self.cell, *self._prepared(inputs), state, self._seen(mask, inputs.shape[1]))

    def _seen(self, mask: Tensor | None, texts: int) -> Tensor | None:
        """The mask; where none is drawn for a layer that knows one, a mask that takes nothing away."""
        return self.weight_hh_l0.new_ones(texts, self.hidden_size) if mask is None and self.masked else mask

    def _prepared(self, values: Tensor) -> tuple[Tensor, Weights]:
        """What the recurrence takes. values: (time, batch, input)."""
        weight: Tensor | None = self.weight_ih_l0
        further, normalise = self.further(), kind_of(self.cell).normalise
        if normalise is not None:
            products = F.linear(values.contiguous(), self.weight_ih_l0)
            values, weight, further = normalise(products, further[0]), None, further[1:]
        return values, Weights(weight, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0, further)


class ScanLayer(StepLayer):
    """A cell whose gates read the input alone, executed by a parallel scan (`model.kernel=step`)."""

    def forward(self, inputs: Tensor, lengths: Tensor, reverse: bool = False, mask: Tensor | None = None) -> Tensor:
        """As `StepLayer`; no product sees a state, so there is nothing to mask.

        Under autocast the products are taken in its type, the recurrence in the weights'.
        """
        decay, entry = self._pairs(inputs.transpose(0, 1))
        if reverse:  # nothing enters at padding: the state is still zero where a text's last token is read
            steps = torch.arange(len(entry), device=entry.device)[:, None]
            entry = entry.masked_fill((steps >= lengths)[:, :, None], 0)
        return scan(decay, entry, reverse=reverse).transpose(0, 1)

    def read_from(self, inputs: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """As `StepLayer`: what the first step keeps of the state enters with it."""
        decay, entry = self._pairs(inputs)
        if state:
            entry = torch.cat([entry[:1] + decay[:1] * state[0], entry[1:]])
        states = scan(decay, entry)
        return states, (states[-1],)

    def _pairs(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Decays and entries of all steps, (time, batch, hidden) each. values: (time, batch, input)."""
        linear = kind_of(self.cell).linear
        assert linear is not None  # build_direction saw to it
        products = F.linear(values, self.weight_ih_l0, self.bias_ih_l0)
        return linear(products.to(self.weight_ih_l0.dtype))


class EquationLayer(CellLayer):
    """Executed as whoever writes a cell in PyTorch would: its equation, step by step, under autograd.

    It stands where PyTorch has no module of the cell, and is called like one: (batch, time, input) → states of every
    step, (batch, time, hidden), and the state after the last one.
    """

    def forward(
        self, inputs: Tensor, state: Tensor | tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """state: before the first step, (1, batch, hidden) or a pair of these as PyTorch has them;  None: zero;
        mask: of recurrent dropout, (batch, hidden).

        Under autocast the products of the inputs are taken in its type, the recurrence in the weights'.
        """
        kind, number_type = kind_of(self.cell), self.weight_ih_l0.dtype
        products = F.linear(inputs.transpose(0, 1).contiguous(), self.weight_ih_l0).to(number_type)
        given = (state,) if isinstance(state, Tensor) else state
        zero = products.new_zeros(inputs.shape[0], self.hidden_size)
        before = tuple(part[0] for part in given) if given else (zero,) * declared(self.cell).states
        with torch.autocast(inputs.device.type, enabled=False):
            if kind.normalise is not None:
                products = kind.normalise(products, self.further()[0])
            states, after = follow(kind, products + self.bias_ih_l0, before, self.step_weights(), mask)
        last = tuple(part[None] for part in after)
        return states.transpose(0, 1), last if len(last) > 1 else last[0]  # type: ignore[return-value]


def build_direction(cell: str, kernel: Kernel, input_size: int, hidden_size: int, *, masked: bool = False) -> nn.Module:
    """One direction of one layer; its parameters are not initialised yet.

    masked: for recurrent dropout, which PyTorch's modules do not know, nor every recurrence by hand.
    Raises: `UserError` for a cell of another package whose equations cannot be used.
    """
    kind: CellKind = kind_of(cell)
    if kernel == "torch" and kind.module is not None and not masked:
        return kind.module(input_size, hidden_size, batch_first=True)
    if kernel == "step" and kind.forward is not None and (kind.masked or not masked):
        return StepLayer(cell, input_size, hidden_size, masked=masked)
    if kernel == "step" and kind.linear is not None:
        return ScanLayer(cell, input_size, hidden_size)
    layer = EquationLayer(cell, input_size, hidden_size)
    check_step(cell, kind, layer.bias_ih_l0, hidden_size, layer.step_weights())
    return layer
