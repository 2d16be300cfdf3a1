"""Word vectors: looked up, and trained by a gradient of the rows that a batch uses.

A batch uses a tenth of the rows of a usual table, and a gradient in the shape of the whole table would have to be
zeroed, filled, measured and scaled all over at each step. What every row needs is the optimiser's update: a row
without a gradient still moves by its momentum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bench.data.tokens.vocabulary import PADDING
from bench.models.dropout import Dropout, Kept, draw_kept
from bench.models.kernels import native_lookup


class WordVectors(nn.Embedding):
    """An embedding table whose padding row stays as it is.

    In training, dropout zeroes values of what is looked up. While `gradient_by_rows` is true, the gradient on a CPU is
    a sparse one, of the distinct rows of a batch, until `spread_gradient` makes it a dense one for the optimiser.
    Processes that train together have no use for that.
    """

    def __init__(self, vectors: Tensor, *, trainable: bool, dropout: float = 0.0) -> None:
        """vectors: (rows, dimension), taken over and not copied;  dropout: the probability."""
        super().__init__(vectors.shape[0], vectors.shape[1], padding_idx=PADDING, _weight=vectors)
        self.weight.requires_grad_(trainable)
        self.dropout = Dropout(dropout)
        self.gradient_by_rows = False
        self._dense: Tensor | None = None  # zero but for the rows below
        self._filled = torch.zeros(0, dtype=torch.int64)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: any shape, int64 rows → that shape and the dimension."""
        if self.gradient_by_rows and self.weight.device.type == "cpu":
            kept = draw_kept(tokens.numel() * self.embedding_dim, self.dropout.p if self.training else 0.0)
            found: Tensor = _LookUp.apply(self.weight, tokens, kept)  # type: ignore[no-untyped-call]
            return found
        dropped: Tensor = self.dropout(super().forward(tokens))
        return dropped

    def spread_gradient(self) -> None:
        """Make a gradient by rows a dense one, in memory that all steps share; another one stays as it is."""
        gradient = self.weight.grad
        if gradient is None or not gradient.is_sparse:
            return
        if self._dense is None:
            self._dense = torch.zeros_like(self.weight)
        rows = gradient._indices()[0]
        self._dense.index_fill_(0, self._filled, 0.0).index_copy_(0, rows, gradient._values())
        self._filled, self.weight.grad = rows, self._dense


class _LookUp(Function):
    """Rows of a table, and the gradient of those rows: sparse and coalesced. The padding's is zero, or not there."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, kept: Kept) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape, ctx.kept = weight.shape, kept
        ctx.native = native_lookup.handles(weight) and native_lookup.available()
        if ctx.native:
            return native_lookup.look_up(weight, tokens, *kept)
        found = F.embedding(tokens, weight)
        return found if kept.bits is None else found.mul_(kept.mask(found))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (tokens,), (gradient,), kept = ctx.saved_tensors, gradients, ctx.kept
        if ctx.native:
            rows, sums = native_lookup.sum_rows(gradient, tokens, ctx.shape[0], *kept)
        else:
            gradient = gradient.contiguous()
            rows, sums = _sum_rows(gradient if kept.bits is None else gradient * kept.mask(gradient), tokens, ctx.shape)
        return (
            torch.sparse_coo_tensor(rows[None], sums, ctx.shape, is_coalesced=True, check_invariants=False),
            None,
            None,
        )


def _sum_rows(gradient: Tensor, tokens: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """As `native_lookup.sum_rows`, but that the padding row is among the rows, and zero."""
    rows, places = distinct_rows(tokens.flatten().numpy(), shape[0])
    sums = gradient.new_zeros(len(rows), shape[1])
    sums.index_add_(0, torch.from_numpy(places), gradient.view(-1, shape[1]))
    if rows[0] == PADDING:
        sums[0] = 0
    return torch.from_numpy(rows), sums


def distinct_rows(tokens: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that occur, in order, and the place of each token among them; without sorting.

    tokens: (tokens,) int64, each below `rows`.
    """
    seen = np.zeros(rows, bool)
    seen[tokens] = True
    found = np.flatnonzero(seen)
    place = np.empty(rows, np.int64)
    place[found] = np.arange(len(found))
    return found, place[tokens]


def clip_gradients(gradients: list[Tensor], limit: float | None) -> Tensor:
    """Scale gradients in place so that their common norm is at most `limit`, if there is one. Returns the norm before.

    As `torch.nn.utils.clip_grad_norm_`; where the norm is within the limit, a CPU leaves them alone.
    """
    norm = nn.utils.get_total_norm(gradients)
    if limit is not None:
        scale = limit / (norm + 1e-6)
        if norm.device.type != "cpu" or not scale >= 1:
            torch._foreach_mul_(gradients, scale.clamp(max=1.0))
    return norm
