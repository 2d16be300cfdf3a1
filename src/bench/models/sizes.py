"""Parameters and floating-point operations in closed form, and the widths at which models are equally large.

With E inputs and H units, a cell of g gates has g·H·(E + H) weights and 2·g·H biases per direction (PyTorch keeps an
input and a hidden bias), and costs 2·g·H·(E + H) operations per token forward (a multiply-add counts as two). What a
cell has beside these, per unit, is in `bench.declarations`: a vector of weights costs two operations a value, too.

A layer of the attention encoder has 12·H² weights (queries, keys, values and their output 4·H², feed-forward 8·H²) and
13·H biases and scales; before the first one, E·H + H project word vectors where E ≠ H, and 2·H scale what comes out. A
token costs 24·H² operations a layer, and 4·H more for every token that it attends to: over a text of length L, 4·H·L².

All of it stands here, where no torch is imported: planning a sweep needs it in milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

from bench.config import ModelConfig
from bench.declarations import DECLARED, CellDeclaration, declared, is_recurrent

GATES = {cell: declaration.gates for cell, declaration in DECLARED.items()}  # of the program's own cells
LINEAR = "linear"  # n-grams and logistic regression: neither word vectors nor an encoder, and no training step
LINEAR_KEYS = ("ngrams", "minimum_texts", "inverse_regularisation")  # of a model, that mean something to it alone
SIMPLEST_FIRST = (LINEAR, "bag", *GATES, "attention")
REFERENCE_CELL = "lstm"
# Whatever is held equal: the first is the measure, the others have no width.
WIDTH_AS_GIVEN = (REFERENCE_CELL, "bag", LINEAR)

# Keys of a model that change nothing in it; forget_bias is refused by all cells that have no forget gate.
_IDLE = {
    "bag": ("hidden_size", "num_layers", "bidirectional", "heads", "kernel", *LINEAR_KEYS),
    "attention": ("bidirectional", "kernel", *LINEAR_KEYS),
    LINEAR: tuple(item.name for item in fields(ModelConfig) if item.name not in ("cell", *LINEAR_KEYS)),
}
_IDLE_GROUPS = {LINEAR: ("training.", "embedding.", "embedding_", "hardware.")}  # how columns of a record begin


@dataclass(frozen=True)
class Sizes:
    """Counts of one model. recurrent: parameters of the encoder, whether it recurs or not;  total: all parameters;
    flops_per_token: of the encoder, forward."""

    recurrent: int
    total: int
    flops_per_token: int


def idle_keys(cell: str, match: str = "width") -> tuple[str, ...]:
    """Keys of `model` that change nothing in a model of this cell.

    match: what is held equal; the parameters are those of an LSTM in one direction or in both.
    """
    idle = _IDLE.get(cell, ("heads", *LINEAR_KEYS))
    sized = match == "parameters" and cell not in WIDTH_AS_GIVEN
    return tuple(name for name in idle if not (sized and name == "bidirectional"))


def means_nothing(column: str, cell: str, match: str) -> bool:
    """Whether a column of a record, such as `model.pooling` or `embedding_dimension`, has no effect on this cell."""
    return column.startswith(_IDLE_GROUPS.get(cell, ())) or column.removeprefix("model.") in idle_keys(cell, match)


def settled_model(model: ModelConfig, input_size: int) -> ModelConfig:
    """The model with defaults in the place of values that change nothing.

    A bag of words is as wide as its word vectors, and a baseline has PyTorch's kernel alone. Chrono initialisation sets
    the forget gate's bias, and without dropout nothing is said by how its masks are drawn.
    """
    idle = list(idle_keys(model.cell, model.match))
    idle += ["forget_bias"] if model.chrono is not None else []
    idle += ["variational"] if model.dropout == 0 else []
    settled = {item.name: _default(item) for item in fields(model) if item.name in idle}
    if "hidden_size" in idle:
        settled["hidden_size"] = input_size
    if "kernel" in idle:
        settled["kernel"] = "torch"
    return replace(model, **settled)


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def recurrent_parameters(
    gates: int, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Weights and biases of all recurrent layers."""
    return _parameters(CellDeclaration(gates), input_size, hidden_size, num_layers, bidirectional)


def flops_per_token(
    gates: int, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
) -> int:
    """Operations of the matrix products of all recurrent layers for one token, forward."""
    return _flops(CellDeclaration(gates), input_size, hidden_size, num_layers, bidirectional)


def _parameters(cell: CellDeclaration, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> int:
    biases = cell.biases * cell.gates + sum(vector.per_unit for vector in cell.further if vector.bias)
    weights = _weights(cell, input_size, hidden_size, num_layers, bidirectional)
    return weights + biases * hidden_size * num_layers * (1 + bidirectional)


def _flops(cell: CellDeclaration, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> int:
    weights = _weights(cell, input_size, hidden_size, num_layers, bidirectional)
    return 2 * weights + cell.operations * hidden_size * num_layers * (1 + bidirectional)


def _weights(cell: CellDeclaration, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> int:
    """Everything but biases."""
    directions = 1 + bidirectional
    from_state = hidden_size if cell.recurrent_matrix else 0
    vectors = hidden_size * sum(vector.per_unit for vector in cell.further if not vector.bias)
    first = cell.gates * hidden_size * (input_size + from_state) + vectors
    further = cell.gates * hidden_size * (directions * hidden_size + from_state) + vectors
    return directions * (first + (num_layers - 1) * further)


def attention_parameters(input_size: int, hidden_size: int, num_layers: int = 1) -> int:
    """Weights, biases and scales of an attention encoder."""
    projection = 0 if input_size == hidden_size else (input_size + 1) * hidden_size
    return projection + num_layers * (12 * hidden_size**2 + 13 * hidden_size) + 2 * hidden_size


def attention_flops_per_token(input_size: int, hidden_size: int, num_layers: int = 1, length: float = 0) -> int:
    """Operations of an attention encoder's matrix products for one token, forward.

    length: tokens that it attends to, its own text's;  0: the products with weights alone.
    """
    projection = 0 if input_size == hidden_size else 2 * input_size * hidden_size
    return projection + round(num_layers * (24 * hidden_size**2 + 4 * hidden_size * length))


def encoder_parameters(model: ModelConfig, input_size: int, hidden_size: int) -> int:
    """Parameters between word vectors and pooling. input_size: of word vectors;  hidden_size: after matching."""
    if model.cell in ("bag", LINEAR):
        return 0
    if model.cell == "attention":
        return attention_parameters(input_size, hidden_size, model.num_layers)
    return _parameters(declared(model.cell), input_size, hidden_size, model.num_layers, model.bidirectional)


def encoder_flops_per_token(model: ModelConfig, input_size: int, hidden_size: int, length: float = 0) -> int:
    """Operations between word vectors and pooling for one token, forward; backward costs about twice as much again.

    length: of its text, in tokens. Only attention's cost depends on it.
    """
    if model.cell in ("bag", LINEAR):
        return 0
    if model.cell == "attention":
        return attention_flops_per_token(input_size, hidden_size, model.num_layers, length)
    return _flops(declared(model.cell), input_size, hidden_size, model.num_layers, model.bidirectional)


def attended_length(lengths: Iterable[int]) -> float:
    """The mean length over tokens, Σ L² / Σ L: at it, a token costs what one of these texts costs on average."""
    tokens = squares = 0
    for length in lengths:
        tokens += int(length)
        squares += int(length) ** 2
    return squares / max(tokens, 1)


def matched_width(model: ModelConfig, input_size: int) -> int:
    """The hidden size that `model.match` asks for.

    `parameters`: hidden_size is the LSTM's, and the width is the one whose encoder's parameters come nearest to that
    LSTM's (300 inputs, 256 units: 571,392; a GRU of 311 units has 571,929). Attention's is a multiple of its heads. A
    bag of words has no such parameters. `width` and `time`: as given.
    """
    if model.match != "parameters" or model.cell in WIDTH_AS_GIVEN:
        return model.hidden_size

    def parameters(width: int) -> int:
        return encoder_parameters(model, input_size, width)

    target = encoder_parameters(replace(model, cell=REFERENCE_CELL), input_size, model.hidden_size)
    step = model.heads if model.cell == "attention" else 1
    largest = 4 * model.hidden_size + step  # a simple network needs at most four times the LSTM's units,
    while parameters(largest) < target:  # a cell without recurrent matrix more
        largest *= 2
    # Attention as wide as its vectors has no projection: that width is out of the order of the others.
    widths = [width for width in range(step, largest + 1, step) if width != input_size]
    above = bisect_left(widths, target, key=parameters)
    nearest = [*widths[max(above - 1, 0) : above + 1], *([] if input_size % step else [input_size])]
    return min(sorted(nearest), key=lambda width: abs(parameters(width) - target))


def encoded_width(model: ModelConfig, input_size: int, hidden_size: int) -> int:
    """Features of what is pooled, for every token."""
    if model.cell == "bag":
        return input_size
    return hidden_size * (1 + (model.bidirectional and is_recurrent(model.cell)))


def sizes_of(
    model: ModelConfig, hidden_size: int, rows: int, dimension: int, classes: int, *, length: float = 0
) -> Sizes:
    """Counts of a whole classifier.

    rows, dimension: shape of the embedding table, the padding row included;  classes: of the task;
    length: of the texts, in tokens, as for `encoder_flops_per_token`.
    """
    encoder = encoder_parameters(model, dimension, hidden_size)
    width = encoded_width(model, dimension, hidden_size)
    logits = 1 if model.output == "sigmoid" else classes
    pooling = width * width + 2 * width if model.pooling == "attention" else 0
    total = rows * dimension + encoder + pooling + width * logits + logits
    return Sizes(encoder, total, encoder_flops_per_token(model, dimension, hidden_size, length))
