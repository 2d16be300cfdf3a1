"""Dropout whose random numbers are cheap on a CPU, where PyTorch draws them one by one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.kernels import native_lookup


class Kept(NamedTuple):
    """What dropout keeps. bits: a random number for each value, None if all are kept;  threshold: values with this
    number or a larger one are kept;  scale: and multiplied by this, so that means stay."""

    bits: Tensor | None
    threshold: int
    scale: float

    def mask(self, like: Tensor) -> Tensor:
        """A mask to multiply with, 0 or `scale`, in the type and memory order of `like`."""
        assert self.bits is not None
        mask = torch.empty_like(like)
        mask.as_strided((mask.numel(),), (1,)).copy_((self.bits >= self.threshold).view(-1))
        return mask.mul_(self.scale)


ALL_KEPT = Kept(None, 0, 1.0)


def draw_kept(count: int, p: float) -> Kept:
    """Drop each of `count` values with probability p. bits: (count,).

    A value costs one random byte where p is a multiple of 1/256, else two: p is rounded to a multiple of 1/65,536, and
    the scale is that of the rounded one. One number of torch's stream seeds a generator of its own (SFC64): what is
    dropped follows from that stream alone.
    """
    if p == 0:
        return ALL_KEPT
    levels, kind = (256, np.int8) if (256 * p).is_integer() else (65_536, np.int16)
    dropped = min(round(levels * p), levels - 1)
    source = np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_()))
    words = -(-count * np.dtype(kind).itemsize // 8)
    drawn = native_lookup.random_words(source, words) if native_lookup.available() else source.random_raw(words)
    return Kept(torch.from_numpy(drawn.view(kind)[:count]), dropped - levels // 2, levels / (levels - dropped))


class Dropout(nn.Dropout):
    """Zeroes each value with probability p and scales the rest, so that means stay (Srivastava et al. 2014).

    On a GPU it is PyTorch's.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Any shape; the result lies in memory as `values` do."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        return values * draw_kept(values.numel(), self.p).mask(values)


class VariationalDropout(Dropout):
    """Drops the same features at every step of a text (Gal & Ghahramani 2016): one mask per text for all of its time.

    Other texts, and other places in the network, have masks of their own.
    """

    def forward(self, values: Tensor) -> Tensor:
        """(batch, time, features); the result lies in memory as `values` do."""
        if not self.training or self.p == 0:
            return values
        return values * self.mask(values[:, 0])[:, None]

    def mask(self, like: Tensor) -> Tensor:
        """A mask for whole texts, 0 or what keeps means as they are. like: (batch, features), for type and device."""
        return super().forward(torch.ones_like(like, memory_format=torch.contiguous_format))
