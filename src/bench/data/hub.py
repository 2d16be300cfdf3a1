"""Corpora from the Hugging Face hub, kept in the cache in the mirror layout.

    CACHE/corpora/<name>[-<revision>]/{train,dev,test}.parquet, source.json

A corpus passes through memory in pieces, twice: once to see that it is sound, once to be written down.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bench.config import DataConfig
from bench.data.hub_client import HubDataset, endpoint, fetch_command, load, why_unreachable
from bench.data.reading.columns import blank_texts, valid_ids, valid_texts
from bench.data.reading.labels import class_indices, class_names
from bench.data.reading.tables import Columns, checked
from bench.errors import UserError
from bench.files import cache_root, folder_atomically

__all__ = ["cache_folder", "download", "endpoint", "read_source", "why_unreachable"]

_log = logging.getLogger(__name__)


def cache_folder(data: DataConfig) -> Path:
    """Where a download of this corpus is kept: train, dev, test as Parquet, and `source.json`."""
    suffix = f"-{data.hub_revision[:12]}" if data.hub_revision else ""
    return cache_root() / "corpora" / f"{data.name}{suffix}"


def read_source(data: DataConfig) -> dict[str, Any] | None:
    """What an earlier download wrote into `source.json`; None if there was none.

    Raises: `UserError` if the cached corpus is damaged, or was downloaded from elsewhere than `data` says.
    """
    folder = cache_folder(data)
    if not folder.is_dir():
        return None
    try:
        source: dict[str, Any] = json.loads((folder / "source.json").read_text())
        wanted = {key: source[key] for key in _request(data)}
        source["revision"], source["label_names"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is damaged: remove it, then run {fetch_command(data)}") from None
    if data.hub_id is not None and wanted != _request(data):
        raise UserError(f"{folder} holds another download ({source['hub_id']}): remove it or choose another data.name")
    return source


def download(data: DataConfig) -> None:
    """Download a corpus and keep it in `cache_folder(data)`, with the commit it came from.

    Rows without a text are left out, and a warning says how many. Where the hub lacks the column
    `data.text_start_column`, its texts begin at their start.
    Raises: `UserError` in one line if the hub does not have it, it cannot be read, or the cache not written.
    """
    if data.task != "classification":
        raise UserError(
            f"data.task={data.task}: such corpora are not downloaded from the hub; set BENCH_DATA=DIR or data.path=DIR"
        )
    dataset = load(data)
    agreed = _agreed_names(data, dataset.label_names)
    labels = {split: _labels(dataset, split, data) for split in dataset.splits}
    names = class_names(labels["train"], agreed)
    indices = {split: class_indices(part, names, declared=agreed is not None) for split, part in labels.items()}
    left_out = {split: part.left_out for split, part in labels.items() if part.left_out}
    for split, count in left_out.items():
        _log.warning("hub %s, %s split: %d rows without a text are left out", data.hub_id, split, count)
    with folder_atomically(cache_folder(data)) as folder:
        for split, part in indices.items():
            _write_split(folder / f"{split}.parquet", split, dataset, part, data)
        source = {"name": data.name, **_request(data), "revision": dataset.revision, "label_names": names}
        (folder / "source.json").write_text(json.dumps({**source, "left_out": left_out}, indent=1) + "\n")


@dataclass(frozen=True)
class _Labels:
    """The labels of a split, of the rows that have a text. See `bench.data.reading.labels.Labelled`."""

    source: str
    labels: pa.Array
    left_out: int
    offsets: None = None


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


def _write_split(path: Path, split: str, dataset: HubDataset, labels: npt.NDArray[np.int64], data: DataConfig) -> None:
    """Write a split with the columns text, label, id, and where texts begin if `data` asks for it."""
    schema = pa.schema({"text": pa.large_string(), "label": pa.int64(), "id": pa.string()})
    if data.text_start_column is not None:
        schema = schema.append(pa.field(data.text_start_column, pa.int64()))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        first = 0
        for table in _with_text(dataset.pieces(split), data.text_column, str(path)):
            end, ids = first + len(table), valid_ids(table)
            numbered = pa.array([f"{split}-{row}" for row in range(first, end)], pa.string())
            columns = [table[data.text_column], pa.array(labels[first:end]), numbered if ids is None else ids]
            if data.text_start_column is not None:
                columns.append(_starts(table, data.text_start_column))
            cast = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(cast, schema=schema))
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


def _request(data: DataConfig) -> dict[str, object]:
    """What decides a download's content."""
    keys = ("hub_id", "hub_config", "hub_splits", "text_column", "label_column", "text_start_column", "labels")
    return {key: getattr(data, key) for key in keys}
