"""Labels as they stand in a table become classes: names, numbers, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.data.splits import IGNORED
from bench.errors import UserError, did_you_mean

_INTEGER = re.compile(r"[+-]?\d+")


class Labelled(Protocol):
    """Labels of one split."""

    @property
    def source(self) -> str:
        """How messages name the split."""

    @property
    def labels(self) -> pa.Array:
        """(labels,) int64 or string, perhaps dictionary-encoded."""

    @property
    def offsets(self) -> np.ndarray | None:
        """(rows + 1,) int64, where each row's labels begin; None: each row has one."""


def class_names(train: Labelled, declared: Sequence[str] | None) -> tuple[str, ...]:
    """The classes: as declared, else the sorted names, or the sorted integers, that the training rows hold.

    Raises: `UserError` if a declared class does not match, or if the training rows hold a single class.
    """
    if declared is None:
        found = train.labels.unique().to_pylist()
        integers = all(isinstance(value, int) or _INTEGER.fullmatch(value) for value in found)
        names = tuple(str(n) for n in sorted({int(value) for value in found})) if integers else tuple(sorted(found))
    else:
        names = tuple(declared)
    indices = class_indices(train, names, declared=declared is not None)
    present = np.unique(indices[indices != IGNORED])
    if len(present) < 2:
        raise UserError(f"{train.source} holds one class only ('{names[present[0]]}'): add texts of another class")
    return names


def class_indices(rows: Labelled, names: Sequence[str], *, declared: bool) -> npt.NDArray[np.int64]:
    """Each label's position in `names`, `IGNORED` where there is none; a declared set also takes integers 0 .. K-1.

    Raises: `UserError` that names the first row whose label is no class.
    """
    encoded = rows.labels if pa.types.is_dictionary(rows.labels.type) else rows.labels.dictionary_encode()
    lookup = {name: index for index, name in enumerate(names)}
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    positions: npt.NDArray[np.int64] = np.full(len(encoded.dictionary) + 1, IGNORED, dtype=np.int64)
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        index = _class_index(value, lookup, declared)
        if index is None:
            row = _row(int(np.flatnonzero(codes == code)[0]), rows.offsets)
            raise UserError(f"{rows.source}, row {row}: {_unknown_label(value, names, declared)}")
        positions[code] = index
    chosen: npt.NDArray[np.int64] = positions[codes]
    return chosen


def numbers(rows: Labelled) -> npt.NDArray[np.float64]:
    """The labels of a regression, (rows,); they have been seen to be finite."""
    plain = rows.labels.dictionary_decode() if pa.types.is_dictionary(rows.labels.type) else rows.labels
    values: npt.NDArray[np.float64] = plain.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _row(position: int, offsets: np.ndarray | None) -> int:
    """The number, from 1, of the row that a label belongs to."""
    return position + 1 if offsets is None else int(np.searchsorted(offsets, position, side="right"))


def _class_index(value: str | int, lookup: Mapping[str, int], declared: bool) -> int | None:
    if isinstance(value, str) and value in lookup:
        return lookup[value]
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    if declared:
        return number if 0 <= number < len(lookup) else None
    return lookup.get(str(number))


def _unknown_label(value: str | int, names: Sequence[str], declared: bool) -> str:
    if not declared:
        return f"label '{value}' does not occur in the train split: {did_you_mean(str(value), names)}"
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        return f"label '{value}' is none of data.labels: {did_you_mean(value, names)}"
    return f"label {value} is outside the range 0..{len(names) - 1} of data.labels: remove unlabelled rows or mend it"
