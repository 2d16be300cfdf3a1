"""Texts that occur more than once, to the letter: within a split, and in two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Of a text, compared byte by byte: as `S16`, a digest that ends in a zero would lose it. A sort of a million takes 1 s.
DIGEST = np.dtype("V16")


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Counts as in `RunRecord`; None where a split is missing."""

    duplicates_train: int
    duplicates_dev: int | None = None
    duplicates_test: int | None = None
    shared_train_dev: int | None = None
    shared_train_test: int | None = None
    shared_dev_test: int | None = None


def count_duplicates(digests: Mapping[str, np.ndarray]) -> Duplicates:
    """Count exact duplicates.

    digests: for each split, (texts,) of type `DIGEST`, equal exactly where texts are.
    """
    distinct = {split: np.unique(values) for split, values in digests.items()}
    counts: dict[str, int] = {
        f"duplicates_{split}": len(values) - len(distinct[split]) for split, values in digests.items()
    }
    for first, second in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if first in distinct and second in distinct:
            shared = np.intersect1d(distinct[first], distinct[second], assume_unique=True)
            counts[f"shared_{first}_{second}"] = len(shared)
    return Duplicates(**counts)


def first_rows(digests: np.ndarray) -> np.ndarray:
    """(distinct,) int64: the rows, in order, that repeat no earlier one. digests: (texts,) of type `DIGEST`."""
    _, rows = np.unique(digests, return_index=True)
    rows.sort()
    return rows
