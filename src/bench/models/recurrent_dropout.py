"""Dropout inside a recurrence: of recurrent weights, and of the state on its way to the next step.

Both draw one mask a batch or a text, and keep it for all time steps: a mask for each step would erase, sooner or later,
whatever a state has to remember (Gal & Ghahramani 2016; Merity, Keskar & Socher 2018). What is drawn follows from the
stream that `Dropout` draws from; in evaluation nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from bench.models.cells.kinds import State
from bench.models.dropout import Dropout, VariationalDropout
from bench.models.kernels.layers import StepLayer


class WeightDrop(Dropout):
    """DropConnect (Wan et al. 2013) on recurrent matrices, as in the AWD-LSTM (Merity, Keskar & Socher 2018).

    Each weight is zero with probability p and scaled otherwise, in one mask for all texts and steps of a batch. The
    parameters keep their names and values: a batch reads tensors computed from them, so that every gradient passes
    through the same mask, whatever executes the recurrence.
    """

    def drawn(self, direction: nn.Module) -> dict[str, Tensor]:
        """The recurrent matrices of one direction as this batch reads them; empty if they are read as they are."""
        if not self.training or self.p == 0:
            return {}
        weights = direction.named_parameters(recurse=False)
        return {name: self(weight) for name, weight in weights if name.startswith("weight_hh")}


class RecurrentDropout(VariationalDropout):
    """Dropout of h_{t−1} where products with recurrent weights see it, one mask a text (Gal & Ghahramani 2016).

    What a cell carries to the next step beside these products, an LSTM's c or the part of h that a GRU keeps, stays.
    """

    def drawn(self, direction: nn.Module, texts: int) -> Tensor | None:
        """A mask of (texts, hidden), the same for all gates; None if states are seen as they are."""
        if not self.training or self.p == 0:
            return None
        weight = cast(Tensor, direction.weight_hh_l0)
        return self.mask(weight.new_empty(texts, weight.shape[1]))


class DroppedDirection:
    """One direction of one layer as a batch reads it, with the same masks however often that is.

    Called like PyTorch's modules: (batch, time, input) and a state → states of every step and the state after.
    """

    def __init__(self, direction: nn.Module, weights: Mapping[str, Tensor], mask: Tensor | None) -> None:
        """weights: in the place of parameters of these names;  mask: of recurrent dropout."""
        self.direction, self.weights, self.mask = direction, weights, mask

    def __call__(self, inputs: Tensor, state: Tensor | State | None = None) -> tuple[Tensor, Tensor | State]:
        """state: before the first step, (1, batch, hidden) or a pair of these;  None: zero."""
        with self._weights_in_place():
            if isinstance(self.direction, StepLayer):
                given = (state,) if isinstance(state, Tensor) else state or ()
                states, after = self.direction.read_from(inputs.transpose(0, 1), given, self.mask)
                return states.transpose(0, 1), after
            more = () if self.mask is None else (state, self.mask)
            found: tuple[Tensor, Tensor | State] = self.direction(inputs, *(more or (state,)))
            return found

    def read(self, inputs: Tensor, lengths: Tensor, reverse: bool) -> Tensor:
        """States of every step by the project's own recurrence; see `StepLayer.forward`."""
        with self._weights_in_place():
            states: Tensor = self.direction(inputs, lengths, reverse, self.mask)
            return states

    def parameters(self) -> Iterator[Tensor]:
        """What the states depend on, weights of which some are dropped among them."""
        return (self.weights.get(name, weight) for name, weight in self.direction.named_parameters())

    @contextmanager
    def _weights_in_place(self) -> Iterator[None]:
        """As `torch.func.functional_call` does, but for any method of the module."""
        parameters: dict[str, Any] = self.direction._parameters
        kept = {name: parameters[name] for name in self.weights}
        parameters.update(self.weights)
        try:
            yield
        finally:
            parameters.update(kept)
