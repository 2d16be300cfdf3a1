"""What a comparison needs of a run's predictions, small enough to stand in its record: 10,000 records stay readable."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

_SHORTEST_CLASS = 8  # tokens; each class of length ends at twice the one before


@dataclass(frozen=True)
class Digest:
    """Fields as in `RunRecord`."""

    test_correct: str
    test_by_length: list[list[int]]


def digest(correct: np.ndarray, lengths: np.ndarray, rows: np.ndarray | None = None) -> Digest:
    """Digest the predictions of one split.

    correct: (labels,) bool;  lengths: (texts,) tokens, after truncation;  rows: (labels,) the text of each label; None:
    each text has one. A text is correct if all its labels are; by length, labels are counted.
    """
    texts = len(lengths)
    rows = np.arange(texts) if rows is None else rows
    labels, hits = np.bincount(rows, minlength=texts), np.bincount(rows[correct], minlength=texts)
    packed = base64.b64encode(np.packbits(hits == labels).tobytes()).decode()
    ends = _SHORTEST_CLASS * 2 ** np.ceil(np.log2(np.maximum(lengths, _SHORTEST_CLASS) / _SHORTEST_CLASS)).astype(int)
    by_length = [[int(end), int(labels[ends == end].sum()), int(hits[ends == end].sum())] for end in np.unique(ends)]
    return Digest(packed, by_length)


def correct_texts(test_correct: str, texts: int) -> np.ndarray:
    """The (texts,) bool array that `digest` packed.

    Raises: `ValueError` if it is not of so many texts.
    """
    bits = np.unpackbits(np.frombuffer(base64.b64decode(test_correct, validate=True), np.uint8))
    if not texts <= len(bits) < texts + 8:
        raise ValueError(f"{len(bits)} bits are not those of {texts} texts")
    return bits[:texts].astype(bool)
