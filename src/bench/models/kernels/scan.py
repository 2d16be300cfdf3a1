"""The linear recurrence h_t = a_t h_{t−1} + b_t of all steps at once: a parallel scan.

Two steps (a, b) and (a', b') after each other are the step (a' a, a' b + b'), and that is associative, so nothing
forces them to be taken one by one (Blelloch 1990; Martin & Cundy 2018). Here time falls into blocks of B steps:

1. every block by itself, from a zero state, all T / B blocks in one operator a place: B steps;
2. meanwhile, what each block leaves of the state that it begins with: the product of its decays up to each place;
3. block after block, what the one before ends with is added: T / B steps of a whole block each.

With B = √(T / 2) that is about 2 √(2 T) operators in a row instead of T, and three times the arithmetic of a plain loop
whatever the length; doubling would take log₂ T rounds, each over all steps. Decays between 0 and 1 are only multiplied,
never divided or taken logarithms of, so that nothing overflows and a decay of 0 is as good as any.

The derivative is a linear recurrence again, with the same decays, read from the other end. Calls go through
`torch.ops.bench.scan_forward` and `scan_backward`, so that a profile shows what ran.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_LIBRARY = torch.library.Library("bench", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("scan_forward(Tensor decay, Tensor entry, bool reverse) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "scan_backward(Tensor grad_states, Tensor decay, Tensor states, bool reverse) -> (Tensor, Tensor)"
)


def scan(decay: Tensor, entry: Tensor, *, reverse: bool = False) -> Tensor:
    """All states h_t = decay_t h_{t−1} + entry_t from a zero state, differentiable once.

    decay, entry: (time, ...), equally shaped;  reverse: from the last step to the first. Returns (time, ...).
    """
    decay, entry = decay.contiguous(), entry.contiguous()
    if torch.is_grad_enabled() and (decay.requires_grad or entry.requires_grad):
        states: Tensor = _Scan.apply(decay, entry, reverse)  # type: ignore[no-untyped-call]
    else:
        states = torch.ops.bench.scan_forward(decay, entry, reverse)
    return states


class _Scan(Function):
    """`scan` with its derivative by hand; keeps two tensors of the states' size."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, entry: Tensor, reverse: bool) -> Tensor:
        states: Tensor = torch.ops.bench.scan_forward(decay, entry, reverse)
        ctx.save_for_backward(decay, states)
        ctx.reverse = reverse
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor, Tensor, None]:
        decay, states = ctx.saved_tensors
        gradients = torch.ops.bench.scan_backward(grad_states.contiguous(), decay, states, ctx.reverse)
        return gradients[0], gradients[1], None


def _forward(decay: Tensor, entry: Tensor, reverse: bool) -> Tensor:
    """As many whole blocks as there are, then the steps that remain, one by one."""
    time = len(entry)
    block = max(1, math.isqrt(time // 2))
    rest = time % block
    whole = slice(rest, time) if reverse else slice(0, time - rest)
    states = torch.empty_like(entry)
    _scan_blocks(*(each[whole].unflatten(0, (time // block, block)) for each in (decay, entry, states)), reverse)
    for before, now in pairwise(range(rest, -1, -1) if reverse else range(time - rest - 1, time)):
        torch.addcmul(entry[now], decay[now], states[before], out=states[now])
    return states


def _scan_blocks(decay: Tensor, entry: Tensor, states: Tensor, reverse: bool) -> None:
    """Fill the states. All tensors: (blocks, block, ...)."""
    left = torch.empty_like(decay)  # of the state that a block begins with, at each place
    places = list(zip(*(each.unbind(1) for each in (decay, entry, states, left)), strict=True))[:: -1 if reverse else 1]
    first_decay, first_entry, first_state, first_left = places[0]
    first_state.copy_(first_entry)
    first_left.copy_(first_decay)
    for (_, _, state_before, left_before), (a, b, state, remaining) in pairwise(places):
        torch.addcmul(b, a, state_before, out=state)
        torch.mul(a, left_before, out=remaining)
    ends = places[-1][2]
    order = range(len(states))
    for before, block in pairwise(reversed(order) if reverse else order):
        states[block].addcmul_(left[block], ends[before])


def _backward(grad_states: Tensor, decay: Tensor, states: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Gradients of decays and entries.

    What reaches h_t in all is D_t = G_t + a_{t+1} D_{t+1}, which is the gradient of b_t; that of a_t is D_t h_{t−1}.
    The decay that `roll` brings round from the other end belongs to the step that is read first: nothing precedes it.
    """
    arriving = _forward(decay.roll(1 if reverse else -1, 0), grad_states, not reverse)
    now, before = (slice(None, -1), slice(1, None)) if reverse else (slice(1, None), slice(None, -1))
    grad_decay = torch.zeros_like(decay)
    torch.mul(arriving[now], states[before], out=grad_decay[now])
    return grad_decay, arriving


_LIBRARY.impl("scan_forward", _forward, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
_LIBRARY.impl("scan_backward", _backward, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
