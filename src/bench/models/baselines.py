"""Baselines that do not recur: a bag of words, and a small Transformer encoder; both exact under padding.

They stand in the recurrent layers' place between word vectors and pooling, and share everything else with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.config import ModelConfig
from bench.models.dropout import Dropout

_FEED_FORWARD = 4  # times as wide as the encoder
_WAVELENGTHS = 10_000.0  # the longest of the positions' sinusoids, over 2π


class BagEncoder(nn.Module):
    """Word vectors as they are: with `pooling=mean`, a neural bag of words (Iyyer et al. 2015)."""

    def __init__(self, model: ModelConfig, input_size: int, hidden_size: int) -> None:
        """hidden_size: of no effect."""
        super().__init__()
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, input_size), unchanged."""
        return inputs


def sinusoids(time: int, features: int, like: Tensor) -> Tensor:
    """Positions as sines (even features) and cosines (odd ones) of falling frequency (Vaswani et al. 2017, 3.5).

    Returns: (time, features), of the type and on the device of `like`.
    """
    steps = torch.arange(time, device=like.device, dtype=torch.float32)[:, None]
    pairs = torch.arange(0, features, 2, device=like.device, dtype=torch.float32)
    angles = steps * torch.exp(pairs * (-math.log(_WAVELENGTHS) / features))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :features].to(like.dtype)


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and added to what it read.

    Pre-norm (Xiong et al. 2020), ReLU, dropout in both branches (Vaswani et al. 2017, 5.4), none in the weights of
    attention, so that fused kernels apply.
    """

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.queries_keys_values = nn.Linear(hidden_size, 3 * hidden_size)
        self.attended = nn.Linear(hidden_size, hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.widening = nn.Linear(hidden_size, _FEED_FORWARD * hidden_size)
        self.narrowing = nn.Linear(_FEED_FORWARD * hidden_size, hidden_size)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """states: (batch, time, hidden);  valid: (batch, 1, 1, time) bool, true where a token may be attended to."""
        states = states + self.dropout(self._attend(self.attention_norm(states), valid))
        wide = torch.relu(self.widening(self.feed_forward_norm(states)))
        enriched: Tensor = states + self.dropout(self.narrowing(wide))
        return enriched

    def _attend(self, states: Tensor, valid: Tensor) -> Tensor:
        batch, time, features = states.shape
        products = self.queries_keys_values(states).view(batch, time, 3, self.heads, features // self.heads)
        queries, keys, values = products.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, features / heads)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=valid)
        joined: Tensor = self.attended(mixed.transpose(1, 2).reshape(batch, time, features))
        return joined


class AttentionEncoder(nn.Module):
    """A Transformer encoder (Vaswani et al. 2017): every token reads all tokens of its text, and no padding.

    Word vectors are projected to hidden_size where they are not as wide, scaled by its square root, and added to
    sinusoidal positions; a last normalisation follows the layers.
    """

    def __init__(self, model: ModelConfig, input_size: int, hidden_size: int) -> None:
        """hidden_size: as resolved, a multiple of `model.heads`."""
        super().__init__()
        self.projection = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        self.layers = nn.ModuleList(
            AttentionLayer(hidden_size, model.heads, model.dropout) for _ in range(model.num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.output_size = hidden_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time, input_size) → (batch, time, hidden_size); states at padding are undefined."""
        time = inputs.shape[1]
        valid = (torch.arange(time, device=inputs.device) < lengths[:, None])[:, None, None, :]
        vectors = self.projection(inputs.contiguous()).to(inputs.dtype)  # sums stay precise where products are bf16
        states = vectors * math.sqrt(self.output_size) + sinusoids(time, self.output_size, inputs)
        for layer in self.layers:
            states = layer(states, valid)
        encoded: Tensor = self.norm(states)
        return encoded


BASELINE_ENCODERS: dict[str, Callable[[ModelConfig, int, int], BagEncoder | AttentionEncoder]] = {
    "bag": BagEncoder,
    "attention": AttentionEncoder,
}
