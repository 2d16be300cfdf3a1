"""Weight drop: DropConnect (Wan et al. 2013) on recurrent matrices, as in AWD-LSTM (Merity, Keskar & Socher 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from bench.models.dropout import Dropout


class WeightDrop(Dropout):
    """Drops each recurrent weight with probability p and scales the rest; one mask for all texts and steps of a batch.

    The parameters keep their names and values: what a batch reads is a tensor computed from them, so that each gradient
    passes through the same mask, whatever executes the recurrence. In evaluation all weights are read as they are.
    """

    def masked(self, direction: nn.Module) -> dict[str, Tensor]:
        """The recurrent matrices of one direction of one layer as this batch reads them; empty if they stay."""
        if not self.training or self.p == 0:
            return {}
        weights = direction.named_parameters(recurse=False)
        return {name: self(weight) for name, weight in weights if name.startswith("weight_hh")}
