"""Named, independent random streams from one integer seed.

A stream is a function of (seed, name, indices) alone: never of what ran before it. Two cells with the same seed
therefore share the validation split and the order of batches, so that their differences pair, and the tenth epoch
draws the same numbers whether or not the run was interrupted after the ninth.
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

Stream = Literal["split", "vectors", "init", "order", "dropout", "sample", "bootstrap", "words", "shuffle"]


def seed_sequence(seed: int, stream: Stream, *indices: int) -> np.random.SeedSequence:
    """The entropy of one named stream; `indices` (an epoch, a rank) open independent sub-streams."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(stream.encode()), *indices))


def generator(seed: int, stream: Stream, *indices: int) -> np.random.Generator:
    """A NumPy generator at the start of one named stream."""
    return np.random.default_rng(seed_sequence(seed, stream, *indices))


def integer(seed: int, stream: Stream, *indices: int) -> int:
    """One 63-bit integer of a named stream, for libraries that take a seed, such as `torch.manual_seed`."""
    return int(seed_sequence(seed, stream, *indices).generate_state(1, np.uint64)[0] >> 1)
