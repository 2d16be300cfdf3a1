"""Sentences with a tag on every word, as two columns of lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.data.reading.columns import Progress, blank_texts, valid_labels, valid_texts
from bench.errors import UserError

_BLANKS = r"[\s\pZ\x0b\x1c-\x1f\x{85}]+"  # whatever str.split divides at


def sentences(
    words: pa.ChunkedArray, tags: pa.ChunkedArray, progress: Progress
) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """Texts, the labels of all their words, and (rows + 1,) int64 where each text's labels begin.

    A text is its words joined by one blank each. Blanks inside a word become `_`, so that dividing the text at its
    blanks gives the words back. Sentences that lack words or tags are noted in `progress`.
    Raises: `UserError` if a column holds no lists, or a sentence has other numbers of words and of tags.
    """
    source, before = progress.source, progress.before
    word_lists = _lists(words, f"{source}: the text column", "data.text_column")
    tag_lists = _lists(tags, f"{source}: the label column", "data.label_column")
    counts, tag_counts = counts_of(word_lists), counts_of(tag_lists)
    if (counts != tag_counts).any():
        row = int((counts != tag_counts).argmax())
        numbers = f"{counts[row]} words but {tag_counts[row]} tags"
        raise UserError(f"{source}, row {before + row + 1}: {numbers}: give every word one tag")
    offsets = offsets_of(counts)
    flat = valid_texts(pa.chunked_array([word_lists.flatten()]), f"{source}, words from row {before + 1} on", 0)
    progress.blank.see((counts == 0) | _rows_with(blank_texts(flat), offsets), before)
    labels = valid_labels(pa.chunked_array([tag_lists.flatten()]), source)
    progress.unlabelled.see(_rows_with(labels.is_null().to_numpy(zero_copy_only=False), offsets), before)
    whole = pc.replace_substring_regex(flat, _BLANKS, "_").cast(pa.string())  # binary_join has no large strings
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets.astype(np.int32), whole), " ")
    return joined.cast(pa.large_string()), labels, offsets


def _lists(column: pa.ChunkedArray, what: str, key: str) -> pa.Array:
    """A column of lists as one array."""
    if not is_lists(column.type):
        raise UserError(f"{what} holds {column.type}, not a list for each sentence: choose another with {key}=NAME")
    return column.combine_chunks()


def is_lists(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def counts_of(lists: pa.Array) -> np.ndarray:
    """(rows,) int64: entries of each list, none for null."""
    counts: np.ndarray = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return counts


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """(rows + 1,) int64: where the entries of each list begin among those of all."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _rows_with(marked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(rows,) bool: rows with a marked word. marked: (words,) bool;  offsets: (rows + 1,)."""
    before = np.concatenate([[0], np.cumsum(marked)])
    found: np.ndarray = before[offsets[1:]] > before[offsets[:-1]]
    return found
