"""The steps of one direction of one layer: in which order they are read, and which texts have not begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_BLOCK = 131_072  # values whose factors are computed together: steps share an operator's overhead, and they fit a cache


class Steps:
    """Reading order over the first dimension of time-major tensors, (time, batch, ...)."""

    def __init__(
        self, time: int, lengths: Tensor | None, initial: Sequence[Tensor] = (), mask: Tensor | None = None
    ) -> None:
        """lengths: None to read from the first step to the last, else (batch,) to read each text from its own end;
        initial: what is held before the first step, (batch, hidden) each, in the order of the cell's state; else zero;
        mask: of recurrent dropout, (batch, hidden), through which products see the states.
        """
        self.time, self.backwards = time, lengths is not None
        self._mask = mask
        self._seen: Tensor | None = None
        self._initial, self._histories = list(initial), list[Tensor]()
        self._waiting: dict[int, Tensor] = {}
        if lengths is not None:
            times = range(int(lengths.min()), time)
            masks = torch.arange(times.start, time, device=lengths.device)[:, None] >= lengths
            self._waiting = dict(zip(times, masks[:, :, None].unbind(0), strict=True))

    def read(self, *tensors: Tensor) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Each time in reading order, with what every tensor holds there."""
        views = list(enumerate(zip(*(tensor.unbind(0) for tensor in tensors), strict=True)))
        return iter(views[::-1] if self.backwards else views)

    def blocks(self, states: Tensor) -> list[slice]:
        """Some consecutive times each, last read first. states: (time, batch, hidden), whose size counts."""
        length = max(1, _BLOCK // max(1, states[0].numel()))
        starts = range(0, self.time, length)
        return [slice(start, start + length) for start in (starts if self.backwards else starts[::-1])]

    def unread(self, *tensors: Tensor, block: slice = slice(0, None)) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Each time of a block, last read first, with what every tensor (of the block's length) holds there."""
        views = list(enumerate(zip(*(tensor.unbind(0) for tensor in tensors), strict=True), start=block.start))
        return iter(views if self.backwards else views[::-1])

    def hold(self, time: int, *states: Tensor) -> None:
        """Set to zero what belongs to texts that have not begun at a time. states: (batch, features) each."""
        waiting = self._waiting.get(time)
        if waiting is not None:
            for state in states:
                state.masked_fill_(waiting, 0)
        following = time - 1 if self.backwards else time + 1
        if self._seen is not None and 0 <= following < self.time:
            torch.mul(states[0], self._mask, out=self._seen[following])

    def seen(self, before: Tensor) -> Tensor:
        """What products see of the states before each step: themselves, or what recurrent dropout leaves of them.

        before: (time, batch, hidden), as `history` gives it. The rest comes with every state that is held.
        """
        if self._mask is None:
            return before
        self._seen, first = torch.empty_like(before), self.time - 1 if self.backwards else 0
        torch.mul(before[first], self._mask, out=self._seen[first])
        return self._seen

    def received(self, gradient: Tensor, *products: tuple[Tensor, Tensor], out: Tensor | None = None) -> Tensor:
        """The gradient of a state: its own, and through the products that saw it. products: (gradients, weights) each;
        out: where it is written, which may be `gradient`."""
        if self._mask is None:
            for gates, weight in products:
                gradient = torch.addmm(gradient, gates, weight, out=out)
            return gradient
        through = torch.stack([gates @ weight for gates, weight in products]).sum(0)
        return torch.addcmul(gradient, through, self._mask, out=out)

    def history(self, like: Tensor, features: int) -> tuple[Tensor, Tensor]:
        """Room for what a text holds after each step and before it: two views of one buffer, which begins as it should.

        Asked for once for each part of the state, in their order. Both are (time, batch, features), with the type and
        device of `like` (time, batch, ...).
        """
        buffer = like.new_empty(self.time + 1, like.shape[1], features)
        buffer[self.time if self.backwards else 0] = self._initial.pop(0) if self._initial else 0
        self._histories.append(buffer)
        return (buffer[:-1], buffer[1:]) if self.backwards else (buffer[1:], buffer[:-1])

    def state_after(self) -> tuple[Tensor, ...]:
        """What every history holds after the last step that was read."""
        return tuple(buffer[0 if self.backwards else self.time] for buffer in self._histories)
