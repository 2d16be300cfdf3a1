"""Numbers in the place of words: each is its own vector, a value and a marker, exact and never trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.errors import UserError

NUMBER_FEATURES = 2
_MARKER = "+"


def number_vectors(words: Sequence[str], special_rows: int) -> np.ndarray:
    """(special_rows + words, 2) float32: the value of each word, and 1 where a `+` behind it marks it, else 0.

    The special rows (padding, unknown) are zero. Such words are `0.371`, `-2`, `0.650+`.
    Raises: `UserError` that names the first word that is no number.
    """
    table = np.zeros((special_rows + len(words), NUMBER_FEATURES), np.float32)
    for row, word in enumerate(words, start=special_rows):
        marked = word.endswith(_MARKER)
        table[row] = _value(word.removesuffix(_MARKER), word), marked
    return table


def _value(digits: str, word: str) -> float:
    try:
        value = float(digits)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"data.inputs=numbers: '{word}' is no number, with or without a '+' behind it: mend the text, or use "
            "data.inputs=words"
        )
    return value
