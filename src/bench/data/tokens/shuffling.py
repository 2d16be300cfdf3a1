"""The same words in random order: a control that tells whether order matters on a corpus."""

from __future__ import annotations

import numpy as np

_TEXT_BITS = 20  # positions within a text: more than data.max_length may be
_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def shuffle_words(tokens: np.ndarray, lengths: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
    """The first `lengths` tokens of each row in random order, the rest where they are.

    Each token is drawn a 64-bit number, and the numbers are sorted. The number is the output of SplitMix64 (Steele et
    al. 2014) at a place of the sequence that belongs to the text and the position alone, so that a text has one order
    whatever batch or subset it is met in, and nothing need be stored.
    tokens: (batch, time);  lengths: (batch,);  numbers: (batch,) int64, each text's own;  seed: 63 bits.
    """
    steps = np.arange(tokens.shape[1], dtype=np.uint64)
    places = (numbers.astype(np.uint64) << np.uint64(_TEXT_BITS))[:, None] + steps
    drawn = _splitmix64(places, np.uint64(seed))
    drawn[steps >= lengths[:, None].astype(np.uint64)] = np.iinfo(np.uint64).max
    shuffled: np.ndarray = np.take_along_axis(tokens, np.argsort(drawn, axis=1, kind="stable"), axis=1)
    return shuffled


def _splitmix64(places: np.ndarray, seed: np.uint64) -> np.ndarray:
    """The numbers at some places of the sequence that begins at `seed`; arithmetic modulo 2^64."""
    state = seed + (places + np.uint64(1)) * _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed
