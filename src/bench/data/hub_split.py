"""A split of a hub dataset as the cache keeps it: one Parquet file, written piece by piece, an id for every row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.reading.columns import valid_ids


def write_split(path: Path, split: str, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    """Write a split. schema: the columns that are kept, `id` among them;  pieces: with all others of them.

    Where a piece has no `id` that names every row, its rows are numbered: `train-0`, ...
    """
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        first = 0
        for piece in pieces:
            end, ids = first + len(piece), valid_ids(piece)
            if ids is None:
                ids = pa.array([f"{split}-{row}" for row in range(first, end)], pa.string())
            columns = [(ids if field.name == "id" else piece[field.name]).cast(field.type) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))
            first = end
