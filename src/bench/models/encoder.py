"""From word rows to logits: embedding, stacked recurrent layers, pooling, linear output; exact under padding.

Texts are padded at their ends. A forward recurrence reads every valid token before any padding, and the backward one
reads each text reversed within its own length, so padding can follow but never precede what counts. What states hold
at padding is never read: pooling sees valid steps only. No packed sequences are needed, and none are used: on CPUs
they run at a quarter of the padded speed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.config import Kernel, ModelConfig
from bench.models.cells import CELLS, initialise
from bench.models.kernels.layers import StepLayer, build_direction
from bench.seeds import integer


def reverse_within(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sequence within its own length; padding stays where it is.

    values: (batch, time, features);  lengths: (batch,).
    """
    steps = torch.arange(values.shape[1], device=values.device)
    source = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return values.gather(1, source[:, :, None].expand_as(values))


class RecurrentLayer(nn.Module):
    """One layer in one or both directions. input: (batch, time, input_size) → (batch, time, directions · hidden)."""

    def __init__(self, cell: str, kernel: Kernel, input_size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.forward_direction = build_direction(cell, kernel, input_size, hidden_size)
        self.backward_direction = build_direction(cell, kernel, input_size, hidden_size) if bidirectional else None

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """States of every step; those at padding are undefined."""
        states = _read(self.forward_direction, inputs, lengths, reverse=False)
        if self.backward_direction is None:
            return states
        return torch.cat([states, _read(self.backward_direction, inputs, lengths, reverse=True)], dim=2)


def _read(direction: nn.Module, inputs: Tensor, lengths: Tensor, *, reverse: bool) -> Tensor:
    """States of one direction. (batch, time, input_size) → (batch, time, hidden)."""
    if isinstance(direction, StepLayer):
        states: Tensor = direction(inputs, lengths, reverse)
        return states
    states, _ = direction(reverse_within(inputs, lengths) if reverse else inputs)
    return reverse_within(states, lengths) if reverse else states


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers with dropout between them."""

    def __init__(self, model: ModelConfig, input_size: int, hidden_size: int, kernel: Kernel = "torch") -> None:
        """hidden_size, kernel: as resolved."""
        super().__init__()
        width = hidden_size * (1 + model.bidirectional)
        inputs = [input_size] + [width] * (model.num_layers - 1)
        self.layers = nn.ModuleList(
            RecurrentLayer(model.cell, kernel, size, hidden_size, model.bidirectional) for size in inputs
        )
        self.dropout = nn.Dropout(model.dropout)
        self.output_size = width

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, input_size) → (batch, time, output_size)."""
        states = inputs
        for position, layer in enumerate(self.layers):
            states = layer(self.dropout(states) if position else states, lengths)
        return states


def last_state(states: Tensor, lengths: Tensor, bidirectional: bool) -> Tensor:
    """What each direction holds after its last step: the forward one at the text's end, the backward one at its start.

    states: (batch, time, features) → (batch, features).
    """
    ends = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
    last = states.gather(1, ends).squeeze(1)
    if not bidirectional:
        return last
    half = states.shape[2] // 2
    return torch.cat([last[:, :half], states[:, 0, half:]], dim=1)


def mean_state(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean over valid steps. (batch, time, features) → (batch, features)."""
    return states.masked_fill(_padding(states, lengths), 0).sum(dim=1) / lengths[:, None]


def max_state(states: Tensor, lengths: Tensor) -> Tensor:
    """The largest value of each feature over valid steps. (batch, time, features) → (batch, features)."""
    return states.masked_fill(_padding(states, lengths), -torch.inf).amax(dim=1)


def _padding(states: Tensor, lengths: Tensor) -> Tensor:
    """(batch, time, 1) bool, true at padding."""
    return (torch.arange(states.shape[1], device=states.device) >= lengths[:, None])[:, :, None]


class AttentionPooling(nn.Module):
    """A weighted mean over valid steps, weights softmax(vᵀ tanh(W h + b)) (Yang et al. 2016)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, features)
        self.query = nn.Linear(features, 1, bias=False)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, features) → (batch, features)."""
        scores = self.query(torch.tanh(self.projection(states)))
        weights: Tensor = scores.masked_fill(_padding(states, lengths), -torch.inf).softmax(dim=1)
        return (weights * states.masked_fill(_padding(states, lengths), 0)).sum(dim=1)


class TextClassifier(nn.Module):
    """A recurrent text classifier; its initial weights are a function of the seed and of each weight's name.

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
        self.embedding = nn.Embedding(vectors.shape[0], vectors.shape[1], padding_idx=0, _weight=vectors)
        self.embedding.weight.requires_grad_(trainable_vectors)
        self.detaches_vectors = False
        self.encoder = RecurrentEncoder(model, vectors.shape[1], hidden_size, kernel)
        self.dropout = nn.Dropout(model.dropout)
        self.attention = AttentionPooling(self.encoder.output_size) if model.pooling == "attention" else None
        self.sigmoid = model.output == "sigmoid"
        self.output = nn.Linear(self.encoder.output_size, 1 if self.sigmoid else classes)
        poolings: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "last": lambda states, lengths: last_state(states, lengths, model.bidirectional),
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
        vectors = self.embedding(tokens)
        states: Tensor = self.encoder(self.dropout(vectors.detach() if self.detaches_vectors else vectors), lengths)
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
            if isinstance(module, nn.RNNBase | StepLayer):
                initialise(module, CELLS[model.cell], model.forget_bias, generator)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
