"""Texts with a label each, as the hub has them, become a split of the cache: the columns text, label, id."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.config import DataConfig
from bench.data.hub_client import HubDataset, Sound
from bench.data.hub_split import write_split
from bench.data.reading.columns import blank_texts, valid_texts
from bench.data.reading.labels import class_indices, class_names
from bench.data.reading.tables import Columns, checked
from bench.errors import UserError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labels:
    """The labels of a split, of the rows that have a text. See `bench.data.reading.labels.Labelled`."""

    source: str
    labels: pa.Array
    left_out: int
    offsets: None = None


def sound_texts(dataset: HubDataset, data: DataConfig) -> Sound:
    """Read through a classification. Rows without a text are left out, and a warning says how many.

    Where the hub lacks the column `data.text_start_column`, its texts begin at their start.
    Raises: `UserError` in one line if a column is missing, or a label is no class.
    """
    agreed = _agreed_names(data, dataset.label_names)
    labels = {split: _labels(dataset, split, data) for split in dataset.splits}
    names = class_names(labels["train"], agreed)
    indices = {split: class_indices(part, names, declared=agreed is not None) for split, part in labels.items()}
    left_out = {split: part.left_out for split, part in labels.items() if part.left_out}
    for split, count in left_out.items():
        _log.warning("hub %s, %s split: %d rows without a text are left out", data.hub_id, split, count)
    return Sound(names, left_out, partial(_write, dataset, data, indices))


def _labels(dataset: HubDataset, split: str, data: DataConfig) -> _Labels:
    """Read through a split, see that its texts are sound, and keep the labels."""
    source, names = f"hub {data.hub_id}, {split} split", dataset.splits[split].column_names
    start = data.text_start_column if data.text_start_column in names else None
    columns = Columns(data.text_column, data.label_column, start)
    columns.choose(names, source)
    rows = checked(_with_text(dataset.pieces(split), columns.text, source), source, columns)
    labels = pa.chunked_array([part.labels for part in rows]).combine_chunks()
    return _Labels(source, labels, len(dataset.splits[split]) - len(labels))


def _with_text(tables: Iterator[pa.Table], column: str, source: str) -> Iterator[pa.Table]:
    """The rows that have a text."""
    for table in tables:
        yield table.filter(pa.array(~blank_texts(valid_texts(table[column], source, 0))))


def _write(
    dataset: HubDataset, data: DataConfig, indices: Mapping[str, npt.NDArray[np.int64]], split: str, path: Path
) -> None:
    """Write a split with the columns text, label, id, and where texts begin if `data` asks for it."""
    schema = pa.schema({"text": pa.large_string(), "label": pa.int64(), "id": pa.string()})
    if data.text_start_column is not None:
        schema = schema.append(pa.field(data.text_start_column, pa.int64()))
    write_split(path, split, schema, _labelled(dataset, split, data, indices[split], str(path)))


def _labelled(
    dataset: HubDataset, split: str, data: DataConfig, labels: npt.NDArray[np.int64], source: str
) -> Iterator[pa.Table]:
    """Texts with their labels as numbers, where they begin if `data` asks for it, and perhaps ids."""
    first = 0
    for table in _with_text(dataset.pieces(split), data.text_column, source):
        end = first + len(table)
        columns = {"text": table[data.text_column], "label": pa.array(labels[first:end])}
        if data.text_start_column is not None:
            columns[data.text_start_column] = _starts(table, data.text_start_column)
        if table.column_names.count("id") == 1:
            columns["id"] = table["id"]
        yield pa.table(columns)
        first = end


def _starts(table: pa.Table, column: str) -> pa.Array | pa.ChunkedArray:
    return table[column] if column in table.column_names else pa.array(np.zeros(len(table), np.int64))


def _agreed_names(data: DataConfig, hub_names: list[str] | None) -> list[str] | None:
    """The class names in the hub's order of integers; they may be declared here, there, or in both alike."""
    if hub_names is None or data.labels is None:
        return data.labels or hub_names
    if hub_names != data.labels:
        raise UserError(
            f"hub {data.hub_id} has the classes {hub_names}, data.labels says {data.labels}: mend data.labels"
        )
    return hub_names
