"""One direction of one recurrent layer, under either execution; parameters have the same names and shapes in both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.config import Kernel
from bench.models.cells import CELLS
from bench.models.kernels.recurrence import Weights, recurrence
from bench.models.sizes import GATES


class StepLayer(nn.Module):
    """One direction of one layer, executed by the project's own recurrence (`model.kernel=step`).

    Parameters are those of PyTorch's modules, gates in PyTorch's order: weight_ih_l0 (gates · hidden, input),
    weight_hh_l0 (gates · hidden, hidden), bias_ih_l0 and bias_hh_l0 (gates · hidden,).
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        rows = GATES[cell] * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))

    def forward(self, inputs: Tensor, lengths: Tensor, reverse: bool = False) -> Tensor:
        """States of every step; those at padding are undefined. (batch, time, input) → (batch, time, hidden).

        reverse: each text is read from its own last token to its first. Both tensors cost nothing to transpose where
        the inputs lie time-major in memory; the states always do.
        """
        weights = Weights(self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return recurrence(self.cell, inputs.transpose(0, 1), weights, lengths if reverse else None).transpose(0, 1)


def build_direction(cell: str, kernel: Kernel, input_size: int, hidden_size: int) -> nn.Module:
    """One direction of one layer; its parameters are not initialised yet."""
    if kernel == "step":
        return StepLayer(cell, input_size, hidden_size)
    return CELLS[cell].module(input_size, hidden_size, batch_first=True)
