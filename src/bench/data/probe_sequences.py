"""Sequences of one length each, whose answer follows from what was drawn: `adding` and `copy`.

A writer draws so many texts of a length, and gives their answers with them.
"""

from __future__ import annotations

import numpy as np

from bench.data.splits import IGNORED, Tags

ADDING_TOKENS, COPY_TOKENS = 2, 21  # the shortest
ADDING_PARTS = 1_000  # values are multiples of 1/1000
COPY_SYMBOLS = ("a", "b", "c", "d", "e", "f", "g", "h")
COPIED = 10  # symbols of a text
_BLANK, _DELIMITER = ".", ":"

_NUMBERS = [f"{value / ADDING_PARTS:.3f}" for value in range(ADDING_PARTS + 1)]
_WORDS = np.array([*_NUMBERS, *(f"{number}+" for number in _NUMBERS)], dtype=object)


def write_adding(random: np.random.Generator, texts: int, length: int) -> tuple[list[str], np.ndarray]:
    """The adding problem (Hochreiter & Schmidhuber 1997, 5.4), in the form of Arjovsky et al. 2016.

    Values are drawn from 0, 0.001, …, 1; one in the first half of a text and one in its second half are marked by a
    `+`, and the answer is their sum: `0.370 0.204+ 0.911 0.650+` is 0.854.
    Returns: the texts, and (texts,) float64.
    """
    values = random.integers(0, ADDING_PARTS + 1, (texts, length))
    rows, half = np.arange(texts), length // 2
    first, second = random.integers(0, half, texts), random.integers(half, length, texts)
    sums = (values[rows, first] + values[rows, second]) / ADDING_PARTS
    for places in (first, second):
        values[rows, places] += len(_NUMBERS)
    return [" ".join(row) for row in _WORDS[values].tolist()], sums


def write_copy(random: np.random.Generator, texts: int, length: int) -> tuple[list[str], Tags]:
    """The copying problem (Hochreiter & Schmidhuber 1997, 5.1), in the form of Arjovsky et al. 2016.

    Ten of eight symbols, T - 1 blanks, a delimiter, ten blanks, where the length is T + 20: at the last ten tokens the
    ten symbols are to be said again. All other tokens are not judged.
    Returns: the texts, and their symbols' positions in `COPY_SYMBOLS` at the last ten tokens.
    """
    symbols = random.integers(0, len(COPY_SYMBOLS), (texts, COPIED))
    waiting = [_BLANK] * (length - 2 * COPIED - 1) + [_DELIMITER] + [_BLANK] * COPIED
    lines = [" ".join([*row, *waiting]) for row in np.array(COPY_SYMBOLS, dtype=object)[symbols].tolist()]
    answers = np.full((texts, length), IGNORED, np.int64)
    answers[:, -COPIED:] = symbols
    return lines, Tags(answers.ravel(), np.arange(texts + 1, dtype=np.int64) * length)
