"""How the gradient of a text's loss travels back through its steps: vanishing, exploding, and the LSTM's carousel.

For every text, ‖∂L/∂h_t‖ is the norm of the *total* derivative of its own loss with respect to the state after token t:
through all later steps, through whatever is stacked above, and through pooling. With `pooling=last` the loss enters
after the last token alone, so that the norm at an earlier one says what has survived the way back (Bengio, Simard &
Frasconi 1994; Pascanu, Mikolov & Bengio 2013). With any other pooling it enters at every token as well, and the norm
is the sum of what entered on the way. For cells with a cell state, ‖∂L/∂c_t‖ is the error in the constant error
carousel (Hochreiter & Schmidhuber 1997); ∂L/∂h_t then leaves out what c_t itself hands on.

States are those of the cells' equations (`*_step`), taken one by one under autograd with the weights of the network in
float64, in which 10⁻³⁰⁰ is not zero yet. Dropout is off, and so is truncation (`training.tbptt`). Of a stack, the top
layer is looked at; of two directions, the one that reads forwards.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.data.batches import Batch
from bench.models.cells import kind_of
from bench.models.cells.kinds import State
from bench.models.encoder import RecurrentEncoder, RecurrentLayer, TextClassifier
from bench.models.kernels.equations import prepared, zero_state

Floats = NDArray[np.float64]

SATURATED = 0.1  # a gate below this, or above 1 minus this, is as good as closed or open: σ' is below 0.09
_VALUES = 40_000_000  # numbers in the graph of one batch, at most: 320 MB


@dataclass(frozen=True)
class Flow:
    """What one network does with the gradients of some texts.

    hidden, carousel: (texts, distances) ‖∂L/∂h_t‖ and ‖∂L/∂c_t‖, by the distance in tokens
    from the text's own last one; NaN before its first. carousel is None for cells without a cell state.
    activation_derivative: mean tanh' (ReLU') over texts, steps and units: of the candidate, and of the cell state on
    its way out;  gate_saturation: share of gate values below 0.1 or above 0.9; None without gates.
    singular_value, spectral_radius: the largest over the square blocks of W_hh, one a gate; None without such a matrix.
    """

    hidden: Floats
    carousel: Floats | None
    activation_derivative: float | None
    gate_saturation: float | None
    singular_value: float | None
    spectral_radius: float | None


def recurs(network: TextClassifier) -> bool:
    """Whether there is a recurrence to look at."""
    return isinstance(network.encoder, RecurrentEncoder)


def gradient_flow(network: TextClassifier, cell: str, batches: Sequence[Batch]) -> Flow:
    """Measure it over some texts; the network is left as it was, but in evaluation mode.

    cell: its name;  batches: on the CPU, each small enough for one graph (`texts_a_batch`).
    Raises: `ValueError` if the network does not recur.
    """
    layer = _top_layer(network)
    unrolled = Unrolled(layer.forward_direction, cell)
    observed = _with_top(network, unrolled)
    parts = [_of_batch(observed, unrolled, batch) for batch in batches]
    seen, (sigma, radius) = unrolled.activations, spectrum(layer.forward_direction)
    carousels = [carousel for _, carousel in parts if carousel is not None]
    return Flow(
        hidden=_stacked([hidden for hidden, _ in parts]),
        carousel=_stacked(carousels) if carousels else None,
        activation_derivative=seen.derivative,
        gate_saturation=seen.saturation,
        singular_value=sigma,
        spectral_radius=radius,
    )


def texts_a_batch(network: TextClassifier, longest: int) -> int:
    """How many texts of this length fit into one graph, one at least. longest: in tokens."""
    rows = sum(weight.shape[0] for weight in _top_layer(network).forward_direction.parameters() if weight.dim() == 2)
    return max(1, _VALUES // (4 * rows * longest))


def spectrum(direction: nn.Module) -> tuple[float | None, float | None]:
    """The largest singular value and the spectral radius over the square blocks of W_hh, one a gate; None without it.

    A simple recurrent network's gradient vanishes for certain where the first times the largest derivative of its
    activation is below 1 (Pascanu, Mikolov & Bengio 2013, section 2.1).
    """
    weight = dict(direction.named_parameters()).get("weight_hh_l0")
    if weight is None:
        return None, None
    blocks = weight.detach().cpu().double().chunk(len(weight) // weight.shape[1])
    sigma = max(float(torch.linalg.matrix_norm(block, 2)) for block in blocks)
    radius = max(float(torch.linalg.eigvals(block).abs().max()) for block in blocks)
    return sigma, radius


class Unrolled(nn.Module):
    """One direction of one layer as its equations, a step at a time under autograd, with every state at hand.

    states: of each step of the last batch, (h,) or (h, c), each (batch, hidden);  lengths: of the texts of the next
    batch, (batch,), whose activations are counted.
    """

    def __init__(self, direction: nn.Module, cell: str) -> None:
        super().__init__()
        self.direction = copy.deepcopy(direction)
        self.cell = cell
        self.states: list[State] = []
        self.lengths = torch.zeros(0, dtype=torch.int64)
        self.activations = Activations()

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """States of every step, as PyTorch's modules return them. (batch, time, input) → (batch, time, hidden)."""
        products, weights = prepared(self.direction, self.cell, inputs)
        state = zero_state(self.cell, products[:, 0])
        self.states = []
        for time, values in enumerate(products.unbind(1)):
            self.activations.valid = time < self.lengths
            with self.activations:
                state = kind_of(self.cell).step(values, state, *weights)
            self.states.append(state)
        return torch.stack([state[0] for state in self.states], dim=1), None


class Activations(TorchFunctionMode):
    """Counts what gates and activations do in the steps taken while it is open, whatever the cell.

    Every value of σ in a cell's equations is a gate's, every value of tanh or ReLU an activation's.
    valid: (batch,) bool, the texts that count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.valid = torch.zeros(0, dtype=torch.bool)
        self._derivatives, self._activations, self._saturated, self._gates = 0.0, 0, 0, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let the function do what it does, and look at what comes out."""
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name in ("sigmoid", "tanh", "relu"):
            self._count(name, result.detach()[self.valid])
        return result

    def _count(self, name: str, values: Tensor) -> None:
        if name == "sigmoid":
            self._gates += values.numel()
            self._saturated += int(((values < SATURATED) | (values > 1 - SATURATED)).sum())
            return
        derivatives = 1 - values.square() if name == "tanh" else (values > 0).to(values.dtype)
        self._activations += values.numel()
        self._derivatives += float(derivatives.sum())

    @property
    def derivative(self) -> float | None:
        """The mean derivative of tanh and ReLU."""
        return self._derivatives / self._activations if self._activations else None

    @property
    def saturation(self) -> float | None:
        """The share of gate values that are nearly 0 or 1."""
        return self._saturated / self._gates if self._gates else None


class _InDouble(nn.Module):
    """Word vectors of another network in float64, without a copy of its table."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self._look_up = (embedding,)  # in a tuple: not a part of this module, so that it is not converted

    def forward(self, tokens: Tensor) -> Tensor:
        (embedding,) = self._look_up
        with torch.no_grad():
            found: Tensor = embedding(tokens.to(next(embedding.parameters()).device))
        return found.double().cpu()


def _top_layer(network: TextClassifier) -> RecurrentLayer:
    if not isinstance(network.encoder, RecurrentEncoder):
        raise ValueError("only recurrent layers hand gradients from step to step")
    layer = network.encoder.layers[-1]
    assert isinstance(layer, RecurrentLayer)
    return layer


def _with_top(network: TextClassifier, unrolled: Unrolled) -> TextClassifier:
    """A copy of the network in float64 on the CPU, whose top layer reads forwards as `unrolled` does."""
    network.eval()
    observed = copy.deepcopy(network, {id(network.embedding): _InDouble(network.embedding)})
    _top_layer(observed).forward_direction = unrolled
    assert isinstance(observed.encoder, RecurrentEncoder)
    observed.encoder.truncate(None)
    return observed.double().cpu().eval()


def _of_batch(network: TextClassifier, unrolled: Unrolled, batch: Batch) -> tuple[Floats, Floats | None]:
    """‖∂L/∂h_t‖ and ‖∂L/∂c_t‖ of each text, by distance from its end.

    Texts do not meet within a batch, so the sum of all losses serves each of them.
    """
    unrolled.lengths = batch.lengths
    with torch.enable_grad():
        losses = network.task.losses(network(batch.tokens, batch.lengths), batch.labels).sum()
        series = list(zip(*unrolled.states, strict=True))  # of h, and of c where there is one
        wanted = [state for states in series for state in states]
        gradients = torch.autograd.grad(losses, wanted, allow_unused=True)
    unrolled.states = []
    norms = torch.stack(
        [wanted[0].new_zeros(len(batch.lengths)) if gradient is None else torch.linalg.vector_norm(gradient, dim=1)
         for gradient in gradients]
    )  # fmt: skip
    hidden, *carousel = (by_distance(norm, batch.lengths) for norm in norms.chunk(len(series)))
    return hidden, carousel[0] if carousel else None


def by_distance(norms: Tensor, lengths: Tensor) -> Floats:
    """From positions to distances from each text's own last token. (time, batch) → (batch, time), NaN where none is."""
    places = lengths[:, None] - 1 - torch.arange(len(norms))
    found = norms.T.gather(1, places.clamp(min=0)).masked_fill(places < 0, torch.nan)
    return found.detach().numpy()


def _stacked(parts: Sequence[Floats]) -> Floats:
    """All texts below each other, NaN where a batch is shorter than the longest one."""
    widest = max(part.shape[1] for part in parts)
    wide = [np.pad(part, ((0, 0), (0, widest - part.shape[1])), constant_values=np.nan) for part in parts]
    return np.concatenate(wide)
