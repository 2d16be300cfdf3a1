"""Sentences with a tag on every word, as the hub has them, become a split of the cache: lists of words and of tags.

The hub numbers tags in an order of its own, so they are known by their names. Its Universal Dependencies hold every row
of the CoNLL-U files: ranges such as `don't` before `do` and `n't`, and empty nodes, none of which is a word
(https://universaldependencies.org/format.html). They are left out here as `bench.data.reading.conllu` leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.config import DataConfig
from bench.data.hub_client import HubDataset, Sound
from bench.data.hub_split import write_split
from bench.data.reading.columns import is_text
from bench.data.reading.labels import class_indices, class_names
from bench.data.reading.scan import scan
from bench.data.reading.tables import Columns, checked
from bench.data.reading.tagged import counts_of, is_lists, offsets_of
from bench.errors import UserError

_HEAD = "head"  # of Universal Dependencies: every word has one, `0` for the root of the sentence
_IDS = ("id", "idx")  # columns that name sentences


def sound_sentences(dataset: HubDataset, data: DataConfig) -> Sound:
    """Read through a corpus of tagged sentences.

    Raises: `UserError` in one line if a column is missing or holds no lists, if a sentence has other numbers of words
    than of tags, a word has no tag, or a tag is none of `data.labels`.
    """
    columns = Columns(data.text_column, data.label_column, tagged=True)
    scans = {}
    for split, rows in dataset.splits.items():
        source = f"hub {data.hub_id}, {split} split"
        columns.choose(rows.column_names, source)
        scans[split] = scan(checked(_sentences(dataset, split, data, source), source, columns))
    names = class_names(scans["train"], data.labels)
    for scanned in scans.values():
        class_indices(scanned, names, declared=data.labels is not None)
    return Sound(names, {}, partial(_write, dataset, data))


def _write(dataset: HubDataset, data: DataConfig, split: str, path: Path) -> None:
    """Write a split: words and tags in columns of the names that `data` has for them, and id."""
    lists = pa.list_(pa.string())
    schema = pa.schema({data.text_column: lists, data.label_column: lists, "id": pa.string()})
    write_split(path, split, schema, _sentences(dataset, split, data, str(path)))


def _sentences(dataset: HubDataset, split: str, data: DataConfig, source: str) -> Iterator[pa.Table]:
    """Words, tags by name, and perhaps ids. What are no lists of words and tags stays as it is: `checked` names it."""
    before = 0
    for table in dataset.pieces(split):
        words, tags = (table[name].combine_chunks() for name in (data.text_column, data.label_column))
        if is_lists(words.type) and is_lists(tags.type) and (counts_of(words) == counts_of(tags)).all():
            tags = _named(tags, dataset.label_names, f"{source}: {data.label_column}")
            heads = _heads(table, words, f"{source}, row", before)
            words, tags = _real_words(words, tags, heads)
        ids = next(({"id": table[name]} for name in _IDS if name in table.column_names), {})
        yield pa.table({data.text_column: words, data.label_column: tags, **ids})
        before += len(table)


def _named(tags: pa.Array, names: list[str] | None, what: str) -> pa.Array:
    """Lists of tags by name; null for a number that has no name."""
    flat = tags.flatten()
    if not pa.types.is_integer(flat.type):
        return tags
    if names is None:
        raise UserError(f"{what} holds numbers without names: choose another column with data.label_column=NAME")
    known = pc.is_in(flat, pa.array(range(len(names)), flat.type))
    numbers = pc.if_else(known, flat, pa.scalar(None, flat.type))
    return _lists(counts_of(tags), pa.array(names, pa.string()).take(numbers))


def _heads(table: pa.Table, words: pa.Array, row: str, before: int) -> pa.Array | None:
    """The head of each word, all sentences in a row, as text; None where the hub does not tell."""
    kind = table.schema.field(_HEAD).type if _HEAD in table.column_names else pa.null()
    if not (is_lists(kind) and is_text(kind.value_type)):
        return None
    heads = table[_HEAD].combine_chunks()
    differ = counts_of(words) != counts_of(heads)
    if differ.any():
        found = int(differ.argmax())
        numbers = f"{counts_of(words)[found]} words but {counts_of(heads)[found]} heads"
        raise UserError(f"{row} {before + found + 1}: {numbers}: choose another dataset or revision")
    return heads.flatten()


def _real_words(words: pa.Array, tags: pa.Array, heads: pa.Array | None) -> tuple[pa.Array, pa.Array]:
    """Both lists without the rows that are no words: those without a head or, where no heads are told, without a tag.

    A word without a tag gets null for a tag.
    """
    tag, none = tags.flatten(), pa.scalar(None, pa.string())
    without_tag = pc.fill_null(pc.equal(tag, "_"), False)
    no_word = without_tag if heads is None else pc.is_in(heads, pa.array(["_", "None", None], heads.type))
    real = pc.invert(no_word).to_numpy(zero_copy_only=False)
    counts = np.diff(np.concatenate([[0], np.cumsum(real)])[offsets_of(counts_of(words))])
    kept = pa.array(real)
    tag = pc.if_else(without_tag, none, tag.cast(pa.string()))
    return _lists(counts, words.flatten().filter(kept)), _lists(counts, tag.filter(kept))


def _lists(counts: np.ndarray, flat: pa.Array) -> pa.Array:
    """Lists of so many entries each. counts: (rows,)"""
    return pa.ListArray.from_arrays(pa.array(offsets_of(counts).astype(np.int32)), flat)
