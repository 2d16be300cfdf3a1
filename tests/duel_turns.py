"""Turns of duels that were never fought: times with a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.analysis.duel_meetings import COLUMNS, MATRIX_PRODUCT, Key

Setting = tuple[int, int, int]
CENTRE: Setting = (64, 16, 32)
CELLS: dict[str, tuple[int, float]] = {"gru": (3, 0.010), "lstm": (4, 0.012)}  # gates, seconds of a step under torch
STEP_FACTOR = {"gru": 0.7, "lstm": 0.8}  # time under step over time under torch


def turns(
    settings: Sequence[Setting] = (CENTRE,),
    *,
    repetitions: int = 6,
    rounds: int = 5,
    noise: float = 0.0,
    shared: float = 0.0,
    seed: int = 0,
    exponent: Mapping[str, float] | None = None,
    kernels: Sequence[str] = ("torch", "step"),
) -> pd.DataFrame:
    """noise: standard deviation of the logarithm, of each repetition and contestant;  shared: of each round, the same
    for all;  exponent: of time against length, 1 where nothing is said. A turn takes a tenth more in one of five."""
    draw = np.random.default_rng(seed)
    rows = []
    for length, batch_size, width in settings:
        for repetition in range(repetitions):
            lasting = {key: draw.normal(0, noise) for key in contestants(width, kernels)}
            for number in range(rounds):
                together = draw.normal(0, shared)
                for key, own in lasting.items():
                    cell, kernel, _ = key
                    gates, seconds = CELLS.get(cell, (0, 0.002))
                    seconds *= STEP_FACTOR.get(cell, 1.0) if kernel == "step" else 1.0
                    seconds *= (length / 64) ** (exponent or {}).get(cell, 1.0) * np.exp(own + together)
                    seconds *= 1.0 + 0.1 * (noise > 0 and draw.random() < 0.2)
                    flops = 6 * gates * width * (8 + width) * length * batch_size if gates else 10**6
                    real = cell != MATRIX_PRODUCT
                    rows.append(
                        [
                            length,
                            batch_size,
                            width,
                            repetition,
                            number,
                            0,
                            *key,
                            real,
                            real,
                            flops,
                            0,
                            seconds,
                            0.0,
                            0.0,
                        ]
                    )
    return pd.DataFrame(rows, columns=COLUMNS)


def contestants(width: int, kernels: Sequence[str] = ("torch", "step")) -> list[Key]:
    """Everyone, the machine's own product among them."""
    return [(MATRIX_PRODUCT, "torch", 0), *((cell, kernel, width) for cell in CELLS for kernel in kernels)]
