"""Gradient flow of a run (`training.gradient_flow=true`): the numbers and curves that its record keeps.

Measured over a few dozen validation texts, with the weights that training began with and with those of the best epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.data.batches import Batch, BatchDataset, Share, Texts
from bench.models.diagnostics import Flow, gradient_flow, recurs, texts_a_batch
from bench.models.encoder import TextClassifier
from bench.runs.callbacks import copied_weights
from bench.runs.decay import curve, decay_per_step, half_life, relative

TEXTS = 32  # of the validation split


@dataclass(frozen=True, kw_only=True)
class FlowNumbers:
    """One network's gradient flow in numbers; fields as in `RunRecord`."""

    gradient_decay_per_step: float | None
    gradient_half_life_tokens: float | None
    carousel_decay_per_step: float | None
    carousel_half_life_tokens: float | None
    recurrent_singular_value: float | None
    recurrent_spectral_radius: float | None
    activation_derivative: float | None
    gate_saturation: float | None

    @classmethod
    def of(cls, flow: Flow) -> FlowNumbers:
        """The numbers of a measurement."""
        hidden = decay_per_step(relative(flow.hidden))
        carousel = None if flow.carousel is None else decay_per_step(relative(flow.carousel))
        return cls(
            gradient_decay_per_step=hidden,
            gradient_half_life_tokens=half_life(hidden),
            carousel_decay_per_step=carousel,
            carousel_half_life_tokens=half_life(carousel),
            recurrent_singular_value=flow.singular_value,
            recurrent_spectral_radius=flow.spectral_radius,
            activation_derivative=flow.activation_derivative,
            gate_saturation=flow.gate_saturation,
        )


def gradient_flow_fields(
    network: TextClassifier, cell: str, initial: Mapping[str, Tensor], texts: Texts
) -> dict[str, object]:
    """The fields of a record, those of gradient flow; none for a model that does not recur.

    network: with the best weights, which it has again afterwards, in evaluation mode;  initial: those that training
    began with;  texts: of the validation split.
    """
    if not recurs(network):
        return {}
    batches = flow_batches(network, texts)
    trained = gradient_flow(network, cell, batches)
    best = copied_weights(network)
    try:
        network.load_state_dict(initial)
        before = gradient_flow(network, cell, batches)
    finally:
        network.load_state_dict(best)
    return {
        **{f"{name}_initial": value for name, value in asdict(FlowNumbers.of(before)).items()},
        **asdict(FlowNumbers.of(trained)),
        "gradient_flow_texts": sum(len(batch.lengths) for batch in batches),
        "gradient_flow": {
            name: curve(relative(norms))
            for name, norms in (
                ("hidden_initial", before.hidden), ("hidden", trained.hidden),
                ("carousel_initial", before.carousel), ("carousel", trained.carousel),
            )
            if norms is not None
        },
    }  # fmt: skip


def flow_batches(network: TextClassifier, texts: Texts) -> list[Batch]:
    """The texts that gradients are measured on, longest first."""
    lengths = texts.lengths
    rows = chosen_rows(lengths)
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    size = texts_a_batch(network, int(lengths[rows[0]]))
    dataset = BatchDataset(texts)
    parts = [rows[first : first + size] for first in range(0, len(rows), size)]
    return [dataset[Share(part, np.ones(len(part), np.float32))] for part in parts]


def chosen_rows(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Up to `TEXTS` rows, evenly over the texts that are no shorter than the median one: each reaches as far back."""
    long = np.flatnonzero(lengths >= np.median(lengths))
    return long[np.linspace(0, len(long) - 1, min(len(long), TEXTS)).round().astype(np.int64)]
