"""Strings of two letters with a known answer: `parity` and `anbn`.

A writer is given the class and the length of each text, so that neither tells of the other, and draws the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NEAR = 3  # letters, at most, by which a string of other counts misses


def write_parity(random: np.random.Generator, labels: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Zeros and ones, all strings of a class and a length equally likely (Bengio et al. 1994).

    labels: (texts,) 0 where the number of ones is even, 1 where it is odd;  lengths: (texts,) tokens, at least 1.
    """
    bits = random.integers(0, 2, (len(labels), int(lengths.max())))
    valid = np.arange(bits.shape[1]) < lengths[:, None]
    wrong = (bits * valid).sum(axis=1) % 2 != labels
    bits[np.arange(len(labels)), lengths - 1] ^= wrong
    return _join(bits, lengths, ("0", "1"))


def write_anbn(random: np.random.Generator, labels: np.ndarray, lengths: np.ndarray) -> list[str]:
    """a^n b^n, and strings that nearly are (Weiss et al. 2018).

    Half of the others have other counts, 1 to 3 letters off to either side; half have equal counts, and an a and a b
    that changed places. So neither the counts nor the order is enough: both are needed.

    labels: (texts,) 1 for a^n b^n, 0 for the others;  lengths: (texts,) tokens, even, at least 4.
    """
    texts, halves = np.arange(len(labels)), lengths // 2
    misses = random.integers(1, np.minimum(halves - 1, _NEAR) + 1) * random.choice([-1, 1], len(labels))
    miscounted = random.integers(0, 2, len(labels)) == 1
    first, second = random.integers(0, halves), random.integers(halves, lengths)
    ends = halves + np.where((labels == 0) & miscounted, misses, 0)
    letters = (np.arange(int(lengths.max())) >= ends[:, None]).astype(np.int64)
    swapped = texts[(labels == 0) & ~miscounted]
    letters[swapped, first[swapped]], letters[swapped, second[swapped]] = 1, 0
    return _join(letters, lengths, ("a", "b"))


def _join(letters: np.ndarray, lengths: np.ndarray, alphabet: Sequence[str]) -> list[str]:
    """letters: (texts, longest) positions in the alphabet, of which the first `lengths` count."""
    rows = np.array(alphabet, dtype=object)[letters].tolist()
    return [" ".join(row[:length]) for row, length in zip(rows, lengths.tolist(), strict=True)]
