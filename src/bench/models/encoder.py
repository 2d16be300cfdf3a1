"""From word rows to logits: embedding, stacked recurrent layers, pooling, linear output; exact under padding.

Texts are padded at their ends. A forward recurrence reads every valid token before any padding, and the backward one
reads each text reversed within its own length, so padding can follow but never precede what counts. What states hold
at padding is never read: pooling sees valid steps only. No packed sequences are needed, and none are used: on CPUs
they run at a quarter of the padded speed.

Everything between look-up and pooling is (batch, time, features) by shape and time-major in memory, as recurrences
read it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bench.config import Kernel, ModelConfig
from bench.declarations import declared, is_recurrent
from bench.models.baselines import BASELINE_ENCODERS, AttentionEncoder, BagEncoder
from bench.models.cells import initialise
from bench.models.dropout import Dropout, VariationalDropout
from bench.models.kernels.layers import EquationLayer, StepLayer, build_direction
from bench.models.lookup import WordVectors
from bench.models.pooling import AttentionPooling, last_state, max_state, mean_state
from bench.models.recurrent_dropout import DroppedDirection, RecurrentDropout, WeightDrop
from bench.models.truncation import read_in_windows
from bench.seeds import integer


def reverse_within(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sequence within its own length; padding stays where it is.

    values: (batch, time, features), as the result best time-major in memory;  lengths: (batch,).
    """
    places = reversed_places(lengths, values.shape[1])
    reversed_values: Tensor = _Reordered.apply(values.transpose(0, 1), places)  # type: ignore[no-untyped-call]
    return reversed_values.transpose(0, 1)


def reversed_places(lengths: Tensor, time: int) -> Tensor:
    """Where each text's steps stand if it is read from its own end, padding last: rows of (time · batch).

    lengths: (batch,) → (time, batch).
    """
    steps = torch.arange(time, device=lengths.device)[:, None]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return source * len(lengths) + torch.arange(len(lengths), device=lengths.device)


class _Reordered(Function):
    """Texts in another order of steps, which is its own inverse. (time, batch, features), places (time, batch)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return F.embedding(places, values.flatten(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return F.embedding(places, gradients[0].flatten(0, 1)), None


class RecurrentLayer(nn.Module):
    """One layer in one or both directions. input: (batch, time, input_size) → (batch, time, directions · hidden).

    window: steps after which a gradient through time is cut (`bench.models.truncation`), None for the whole text.
    """

    window: int | None = None

    def __init__(self, model: ModelConfig, kernel: Kernel, input_size: int, hidden_size: int) -> None:
        """kernel, hidden_size: as resolved."""
        super().__init__()
        self.weight_drop = WeightDrop(model.weight_drop)
        self.recurrent_dropout = RecurrentDropout(model.recurrent_dropout)
        masked = model.recurrent_dropout > 0
        build = partial(build_direction, model.cell, kernel, input_size, hidden_size, masked=masked)
        self.forward_direction = build()
        self.backward_direction = build() if model.bidirectional else None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """States of every step; those at padding are undefined."""
        states = self._states(self.forward_direction, inputs, lengths, reverse=False)
        if self.backward_direction is None:
            return states
        reversed_states = self._states(self.backward_direction, inputs, lengths, reverse=True)
        return torch.cat([states.transpose(0, 1), reversed_states.transpose(0, 1)], dim=2).transpose(0, 1)

    def _states(self, direction: nn.Module, inputs: Tensor, lengths: Tensor, *, reverse: bool) -> Tensor:
        """States of one direction. (batch, time, input_size) → (batch, time, hidden)."""
        time, read = inputs.shape[1], self._as_read(direction, len(inputs))
        if self.window is None or self.window >= time or not torch.is_grad_enabled():
            return _read(read, inputs, lengths, reverse=reverse)
        order = reversed_places(lengths, time) if reverse else None
        return read_in_windows(read, inputs.transpose(0, 1), self.window, order).transpose(0, 1)

    def _as_read(self, direction: nn.Module, texts: int) -> nn.Module | DroppedDirection:
        """A direction with what dropout leaves of its weights and states for one batch; itself where all is left."""
        weights, mask = self.weight_drop.drawn(direction), self.recurrent_dropout.drawn(direction, texts)
        return DroppedDirection(direction, weights, mask) if weights or mask is not None else direction


def _read(direction: nn.Module | DroppedDirection, inputs: Tensor, lengths: Tensor, *, reverse: bool) -> Tensor:
    """States of one direction. (batch, time, input_size) → (batch, time, hidden)."""
    if isinstance(direction, StepLayer):
        states: Tensor = direction(inputs, lengths, reverse)
        return states
    if isinstance(direction, DroppedDirection) and isinstance(direction.direction, StepLayer):
        return direction.read(inputs, lengths, reverse)
    states, _ = direction(reverse_within(inputs, lengths) if reverse else inputs)
    return reverse_within(states, lengths) if reverse else states


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers with dropout between them, and where it is asked for, within them."""

    def __init__(self, model: ModelConfig, input_size: int, hidden_size: int, kernel: Kernel = "torch") -> None:
        """hidden_size, kernel: as resolved."""
        super().__init__()
        width = hidden_size * (1 + model.bidirectional)
        inputs = [input_size] + [width] * (model.num_layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(model, kernel, size, hidden_size) for size in inputs)
        self.dropout = (VariationalDropout if model.variational else Dropout)(model.dropout)
        self.output_size = width

    def truncate(self, window: int | None) -> None:
        """Cut gradients through time after so many steps of each text; None: nowhere."""
        for layer in self.layers:
            assert isinstance(layer, RecurrentLayer)
            layer.window = window

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, input_size) → (batch, time, output_size)."""
        states = inputs
        for position, layer in enumerate(self.layers):
            states = layer(self.dropout(states) if position else states, lengths)
        return states


def build_encoder(
    model: ModelConfig, input_size: int, hidden_size: int, kernel: Kernel = "torch"
) -> RecurrentEncoder | AttentionEncoder | BagEncoder:
    """What stands between word vectors and pooling. hidden_size, kernel: as resolved."""
    if baseline := BASELINE_ENCODERS.get(model.cell):
        return baseline(model, input_size, hidden_size)
    return RecurrentEncoder(model, input_size, hidden_size, kernel)


class TextClassifier(nn.Module):
    """A text classifier; its initial weights are a function of the seed and of each weight's name.

    vectors: (rows, dimension) float32, the embedding table;  classes: of the task.
    While `detaches_vectors` is true, no gradient is computed for them.
    """

    def __init__(
        self,
        model: ModelConfig,
        hidden_size: int,
        vectors: Tensor,
        *,
        trainable_vectors: bool,
        classes: int,
        seed: int,
        kernel: Kernel = "torch",
    ) -> None:
        """hidden_size, kernel: as resolved."""
        super().__init__()
        independent, shared = (0.0, model.dropout) if model.variational else (model.dropout, 0.0)
        self.embedding = WordVectors(vectors, trainable=trainable_vectors, dropout=independent)
        self.vector_dropout = VariationalDropout(shared)  # of the same features of all words of a text
        self.detaches_vectors = False
        self.encoder = build_encoder(model, vectors.shape[1], hidden_size, kernel)
        bidirectional = model.bidirectional and is_recurrent(model.cell)
        self.dropout = Dropout(model.dropout)
        self.attention = AttentionPooling(self.encoder.output_size) if model.pooling == "attention" else None
        self.sigmoid = model.output == "sigmoid"
        self.output = nn.Linear(self.encoder.output_size, 1 if self.sigmoid else classes)
        poolings: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "last": lambda states, lengths: last_state(states, lengths, bidirectional),
            "mean": mean_state,
            "max": max_state,
        }
        self._pool = poolings.get(model.pooling)
        self._initialise(model, seed)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens: (batch, time) rows of the table;  lengths: (batch,) → logits (batch, classes).

        With `output=sigmoid` the single logit z stands for the two logits (0, z), whose softmax is (1 − σ(z), σ(z)).
        """
        logits: Tensor = self.output(self.dropout(self.pool(self.encode(tokens, lengths), lengths)))
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if self.sigmoid else logits

    def encode(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """States of every step. (batch, time) → (batch, time, features)."""
        vectors = self.vector_dropout(self.embedding(tokens.T).transpose(0, 1))
        states: Tensor = self.encoder(vectors.detach() if self.detaches_vectors else vectors, lengths)
        return states

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """One vector per text. (batch, time, features) → (batch, features)."""
        if self._pool is not None:
            return self._pool(states, lengths)
        assert self.attention is not None
        pooled: Tensor = self.attention(states, lengths)
        return pooled

    def _initialise(self, model: ModelConfig, seed: int) -> None:
        for name, module in self.named_modules():
            generator = torch.Generator().manual_seed(integer(seed, "init", zlib.crc32(name.encode())))
            if isinstance(module, nn.RNNBase | StepLayer | EquationLayer):
                initialise(module, declared(model.cell), model.forget_bias, generator, chrono=model.chrono)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
