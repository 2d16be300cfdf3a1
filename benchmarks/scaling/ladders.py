"""What `scale.py` measures: who takes part, along which sizes, and what the arithmetic says. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.config import Cell, Kernel, ModelConfig
from bench.models.sizes import encoder_flops_per_token, encoder_parameters

ROWS, DIMENSION, CLASSES = 1000, 128, 2  # of the embedding table: small beside a step, as wide as the usual layer


@dataclass(frozen=True)
class Contestant:
    """A cell under one execution."""

    cell: Cell
    kernel: Kernel = "torch"

    def __str__(self) -> str:
        return self.cell if self.cell in ("attention", "bag") else f"{self.cell}, {self.kernel}"


@dataclass(frozen=True)
class Size:
    """Of one training step. length: tokens per text;  width: units;  depth: layers;  texts: in a batch."""

    length: int = 64
    width: int = 128
    depth: int = 1
    texts: int = 16


@dataclass(frozen=True)
class Ladder:
    """Sizes along one key of `Size`: all of them, and those of a quick look."""

    key: str
    steps: tuple[int, ...]
    quick: tuple[int, ...]
    contestants: tuple[Contestant, ...]

    def sizes(self, quick: bool) -> dict[int, Size]:
        """Each step, and the size that it stands for."""
        return {step: replace(Size(), **{self.key: step}) for step in (self.quick if quick else self.steps)}


CELLS = (
    Contestant("gru", "torch"), Contestant("gru", "step"), Contestant("lstm", "torch"), Contestant("lstm", "step"),
)  # fmt: skip
LADDERS = {
    ladder.key: ladder
    for ladder in (
        Ladder(
            "length", (16, 32, 64, 128, 256, 512, 1024, 2048), (16, 64, 256, 1024),
            (*CELLS, Contestant("attention"), Contestant("bag")),
        ),
        Ladder("width", (32, 64, 128, 256, 512, 1024), (64, 256, 1024), CELLS),
        Ladder("depth", (1, 2, 4, 8), (1, 3, 8), CELLS),
    )
}  # fmt: skip
TEXTS, QUICK_TEXTS = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000, 100_000)


def model_of(contestant: Contestant, size: Size) -> ModelConfig:
    """What a contestant trains."""
    return ModelConfig(
        cell=contestant.cell, hidden_size=size.width, num_layers=size.depth, kernel=contestant.kernel, pooling="mean"
    )


def operations(contestant: Contestant, size: Size) -> float:
    """Of the matrix products of one step, forward and twice as much backward; a bag's are its values, read once."""
    tokens = size.length * size.texts
    flops = encoder_flops_per_token(model_of(contestant, size), DIMENSION, size.width, size.length)
    return float(3 * tokens * flops if flops else tokens * DIMENSION)


def bytes_held(contestant: Contestant, size: Size) -> float:
    """What a step holds at least, in float32.

    Of every token its word vector with the gradient and, per layer, what the backward pass reads: gates and states, or
    of attention what each product reads. Of every parameter of the encoder the gradient; the table's is of the batch's
    rows alone.
    """
    per_layer = {"rnn": 2, "gru": 5, "lstm": 6, "attention": 14, "bag": 0}[contestant.cell] * size.width
    tokens = size.length * size.texts
    parameters = encoder_parameters(model_of(contestant, size), DIMENSION, size.width)
    return 4.0 * (tokens * (2 * DIMENSION + size.depth * per_layer) + parameters)
