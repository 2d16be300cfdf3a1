"""Gates and states of a network at every token of a text, from the equations themselves.

Each cell's equation (`bench.models.cells`) is followed step by step with the network's weights, and what its σ, tanh
and ReLU return on the way is kept: these are the gates. A cell names them in its declaration (`activations`, in the
order in which the equation computes them); one that does not is traced all the same, under the functions' names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.config import ModelConfig, Pooling
from bench.data.tokens.vocabulary import PADDING
from bench.declarations import declared
from bench.models.attribution import attribute
from bench.models.baselines import AttentionEncoder
from bench.models.cells import kind_of
from bench.models.encoder import RecurrentEncoder, RecurrentLayer, TextClassifier
from bench.models.kernels.equations import prepared, zero_state
from bench.models.reading import Activation, LayerReading, Reading

_STATES = ("hidden state h", "cell state c")
_RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, None), "softmax": (0.0, 1.0)}
_AT_ONCE = 32  # beginnings of a text that are read together


class Called(NamedTuple):
    """What a function returned. low, high: between which its values lie, None where they may be of any size."""

    name: str
    value: Tensor
    low: float
    high: float | None


class Calls(TorchFunctionMode):
    """While it is active, keeps what σ, tanh, ReLU and softmax return, and the weights of fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Called] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and keep what it returns if it is one of those."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _RANGES:
            self.found.append(Called(name, result.detach().clone(), *_RANGES[name]))
        elif name == "scaled_dot_product_attention":
            queries, keys = args[0].detach(), args[1].detach()
            scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
            self.found.append(Called("attention", scores.softmax(dim=-1), 0.0, 1.0))
        return result


@torch.no_grad()
def read(network: TextClassifier, model: ModelConfig, tokens: Tensor) -> Reading:
    """What the network does with one text.

    network: in evaluation mode;  model: its configuration;  tokens: (time,) rows of the embedding table.
    """
    lengths = torch.tensor([len(tokens)], device=tokens.device)
    vectors = network.embedding.weight[tokens][None]
    states = network.encoder(vectors, lengths)
    running = running_predictions(network, tokens)
    return Reading(
        probabilities=running[-1],
        running=running,
        attribution=attribute(network, tokens),
        pooled=_pooled(network, model.pooling, states, lengths),
        layers=tuple(_layers(network, model.cell, vectors, lengths)),
    )


@torch.no_grad()
def running_predictions(network: TextClassifier, tokens: Tensor) -> np.ndarray:
    """Probabilities had the text ended after each token. tokens: (time,) → (time, classes).

    Where texts are read forward, these are the classifier's answers to the states so far. A backward direction, and
    attention, read the beginning of the text as if there were no more of it.
    """
    found = []
    for first in range(0, len(tokens), _AT_ONCE):
        lengths = torch.arange(first + 1, min(first + _AT_ONCE, len(tokens)) + 1, device=tokens.device)
        time = int(lengths[-1])
        valid = torch.arange(time, device=tokens.device) < lengths[:, None]
        rows = tokens[:time].expand(len(lengths), time).where(valid, PADDING)
        found.append(network(rows, lengths).float().softmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def _pooled(network: TextClassifier, pooling: Pooling, states: Tensor, lengths: Tensor) -> np.ndarray | None:
    """The share of each token in the pooled vector: of its features under max pooling, its weight under attention."""
    if pooling == "max":
        return np.bincount(states[0].argmax(dim=0).cpu().numpy(), minlength=states.shape[1]) / states.shape[2]
    if pooling != "attention":
        return None
    with Calls() as calls:
        network.pool(states, lengths)
    return next(_numbers(call.value[0]) for call in calls.found if call.name == "softmax")


def _layers(network: TextClassifier, cell: str, vectors: Tensor, lengths: Tensor) -> Iterator[LayerReading]:
    if isinstance(network.encoder, AttentionEncoder):
        yield from _attention_layers(network.encoder, vectors, lengths)
    elif isinstance(network.encoder, RecurrentEncoder):
        inputs = vectors
        for number, layer in enumerate(network.encoder.layers, 1):
            assert isinstance(layer, RecurrentLayer)
            outputs = layer(inputs, lengths)
            directions = {"forward": layer.forward_direction, "backward": layer.backward_direction}
            present = {name: module for name, module in directions.items() if module is not None}
            parts = outputs[0].chunk(len(present), dim=1)
            for (name, module), executed in zip(present.items(), parts, strict=True):
                gates, states = trace_direction(module, cell, inputs[0], reverse=name == "backward")
                difference = float((torch.from_numpy(states[0].values).to(executed) - executed).abs().max())
                yield LayerReading(number, name, gates, states, difference)
            inputs = outputs


def trace_direction(
    module: nn.Module, cell: str, inputs: Tensor, *, reverse: bool
) -> tuple[tuple[Activation, ...], tuple[Activation, ...]]:
    """Gates and states of one direction of one layer, in the order of the text.

    module: with the weights, whatever executes it;  inputs: (time, features);  reverse: read from the last token to the
    first.
    """
    products, weights = prepared(module, cell, inputs)
    state, after, called = zero_state(cell, products[:1]), [], []
    for row in products.flip(0) if reverse else products:
        with Calls() as calls:
            state = kind_of(cell).step(row[None], state, *weights)
        after.append(state)
        called.append([part for call in calls.found for part in _parts(call, state[0].shape[1])])
    gates = [_gate(name, steps, reverse) for name, steps in _named(declared(cell).activations, called)]
    states = [
        _state(name, values, reverse) for name, values in zip_longest(_STATES, zip(*after, strict=True)) if values
    ]
    return tuple(gates), tuple(states)


def _parts(call: Called, hidden_size: int) -> Iterator[Called]:
    """Gates that one call computed side by side, one by one."""
    for value in call.value.chunk(call.value.shape[1] // hidden_size, dim=1):
        yield call._replace(value=value)


def _named(names: Sequence[str], called: list[list[Called]]) -> Iterator[tuple[str, list[Called]]]:
    """The calls of all steps by name; those whose declared name is empty are left out (tanh c: seen in c and h)."""
    for place, steps in enumerate(zip(*called, strict=True)):
        name = names[place] if place < len(names) else f"{steps[0].name} {place + 1}"
        if name:
            yield name, list(steps)


def _gate(name: str, steps: list[Called], reverse: bool) -> Activation:
    values = _in_order([call.value for call in steps], reverse)
    high = steps[0].high
    return Activation(name, values, steps[0].low, float(values.max()) or 1.0 if high is None else high)


def _state(name: str | None, steps: Sequence[Tensor], reverse: bool) -> Activation:
    values = _in_order(steps, reverse)
    largest = float(np.abs(values).max()) or 1.0
    return Activation(name or "further state", values, -largest, largest)


def _in_order(steps: Sequence[Tensor], reverse: bool) -> np.ndarray:
    """Steps of one text as they were read, (1, units) each → (time, units) as they stand in the text."""
    together = torch.cat(list(steps))
    return _numbers(together.flip(0) if reverse else together)


def _attention_layers(encoder: AttentionEncoder, vectors: Tensor, lengths: Tensor) -> Iterator[LayerReading]:
    """How much attention each token receives, the mean over those that attend; a unit is a head."""
    with Calls() as calls:
        encoder(vectors, lengths)
    found = [call.value[0] for call in calls.found if call.name == "attention"]
    for number, weights in enumerate(found, 1):  # (heads, attending, attended)
        received = _numbers(weights.mean(dim=1).T)
        yield LayerReading(number, "", (Activation("attention received", received, 0.0, float(received.max())),), ())


def _numbers(values: Tensor) -> np.ndarray:
    numbers: np.ndarray = values.detach().float().cpu().numpy()
    return numbers
