"""Parameters and floating-point operations in closed form, and the widths at which cells are equally large.

With E inputs and H units, a cell of g gates has g·H·(E + H) weights and 2·g·H biases per direction (PyTorch keeps an
input and a hidden bias), and costs 2·g·H·(E + H) operations per token forward (a multiply-add counts as two).
The numbers of gates stand here, where no torch is imported: planning a sweep needs them in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.config import ModelConfig

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
REFERENCE_CELL = "lstm"


@dataclass(frozen=True)
class Sizes:
    """Counts of one model. recurrent, total: parameters;  flops_per_token: forward, recurrent layers."""

    recurrent: int
    total: int
    flops_per_token: int


def recurrent_parameters(
    gates: int, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Weights and biases of all recurrent layers."""
    weights = _weights(gates, input_size, hidden_size, num_layers, bidirectional)
    return weights + 2 * gates * hidden_size * num_layers * (1 + bidirectional)


def flops_per_token(
    gates: int, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Operations of the matrix products of all recurrent layers for one token, forward."""
    return 2 * _weights(gates, input_size, hidden_size, num_layers, bidirectional)


def _weights(gates: int, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> int:
    directions = 1 + bidirectional
    first = gates * hidden_size * (input_size + hidden_size)
    further = gates * hidden_size * (directions * hidden_size + hidden_size)
    return directions * (first + (num_layers - 1) * further)


def matched_width(model: ModelConfig, input_size: int) -> int:
    """The hidden size that `model.match` asks for.

    `parameters`: hidden_size is the LSTM's, and the width is the one whose recurrent parameters come nearest to that
    LSTM's (300 inputs, 256 units: 571,392; a GRU of 311 units has 571,929). `width` and `time`: as given.
    """
    if model.match != "parameters" or model.cell == REFERENCE_CELL:
        return model.hidden_size
    shape = (model.num_layers, model.bidirectional)
    target = recurrent_parameters(GATES[REFERENCE_CELL], input_size, model.hidden_size, *shape)
    gates = GATES[model.cell]
    width = model.hidden_size
    while recurrent_parameters(gates, input_size, width, *shape) < target:
        width += 1
    below = max(width - 1, 1)
    return min((below, width), key=lambda size: abs(recurrent_parameters(gates, input_size, size, *shape) - target))


def sizes_of(model: ModelConfig, hidden_size: int, rows: int, dimension: int, classes: int) -> Sizes:
    """Counts of a whole classifier.

    rows, dimension: shape of the embedding table, the padding row included;  classes: of the task.
    """
    gates = GATES[model.cell]
    shape = (dimension, hidden_size, model.num_layers, model.bidirectional)
    recurrent = recurrent_parameters(gates, *shape)
    width = hidden_size * (1 + model.bidirectional)
    logits = 1 if model.output == "sigmoid" else classes
    pooling = width * width + 2 * width if model.pooling == "attention" else 0
    total = rows * dimension + recurrent + pooling + width * logits + logits
    return Sizes(recurrent, total, flops_per_token(gates, *shape))
