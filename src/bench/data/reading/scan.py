"""One pass over the rows of a split, in little memory: labels, digests of the texts, and how many there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.data.duplicates import DIGEST, first_rows
from bench.data.reading.labels import class_indices, numbers
from bench.data.reading.readers import Stream
from bench.data.reading.tables import Rows
from bench.data.splits import CHUNK_TEXTS, Split, Streamed, Tags


@dataclass(frozen=True)
class Scan:
    """What one pass found. source: how messages name the split;  labels: all of them, dictionary-encoded;
    offsets: where each row's labels begin, if they are one a word;  digests: (rows,) of the texts;
    named: whether the column `id` names every row;  ids_digest: of that column."""

    source: str
    labels: pa.Array
    offsets: np.ndarray | None
    digests: np.ndarray
    named: bool
    ids_digest: str


def scan(rows: Iterable[Rows]) -> Scan:
    """Read all rows of a split once. Raises: `UserError`, as reading them does."""
    source, named, ids = "", True, hashlib.sha256()
    labels: list[pa.Array] = []
    digests: list[bytes] = []
    counts: list[np.ndarray] = []
    for part in rows:
        source, named = part.source, named and part.ids is not None
        ids.update("".join(f"{name}\n" for name in part.ids.to_pylist()).encode() if part.ids is not None else b"")
        labels.append(part.labels.dictionary_encode())
        texts = part.texts.cast(pa.large_binary()).to_pylist()
        digests.append(b"".join([hashlib.blake2b(text, digest_size=DIGEST.itemsize).digest() for text in texts]))
        if part.offsets is not None:
            counts.append(np.diff(part.offsets))
    together = pa.chunked_array(labels).unify_dictionaries().combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64) if counts else None
    return Scan(source, together, offsets, np.frombuffer(b"".join(digests), DIGEST), named, ids.hexdigest())


def split_of(
    name: str, stream: Stream, scanned: Scan, names: Sequence[str], *, declared: bool, deduplicate: bool
) -> tuple[Split, np.ndarray]:
    """A split whose texts and ids stay where they are, and (texts,) digests of its texts. names: none for a regression.

    Raises: `UserError` that names the first row whose label is no class.
    """
    labels = class_indices(scanned, names, declared=declared) if names else numbers(scanned)
    tags = None if scanned.offsets is None else Tags(labels.astype(np.int64, copy=False), scanned.offsets)
    kept = first_rows(scanned.digests) if deduplicate else None
    digests = scanned.digests if kept is None else scanned.digests[kept]
    if kept is not None:
        tags, labels = (tags.subset(kept), labels) if tags else (None, labels[kept])
    size = len(digests)
    texts = Streamed(size, lambda: _lists((rows.texts for rows in stream()), kept))
    if scanned.named:
        ids = Streamed(size, lambda: _lists((rows.ids for rows in stream()), kept))
    else:
        ids = Streamed(size, lambda: _numbered(name, np.arange(size) if kept is None else kept))
    return Split(texts, labels if tags is None else np.empty(0, np.int64), ids, tags), digests


def fingerprint(names: Sequence[str], splits: Mapping[str, tuple[Split, np.ndarray]]) -> str:
    """16 hexadecimal digits of class names, texts, labels and their order; not of ids, which depend on the source.

    It does not depend either on where the texts came from, or on how many at a time.
    """
    digest = hashlib.sha256("\0".join(names).encode())
    for name, (split, texts) in splits.items():
        digest.update(f"\0{name} {len(texts)}\0".encode())
        digest.update(texts.tobytes())
        digest.update(split.labels.astype("<f8" if split.labels.dtype.kind == "f" else "<i8").tobytes())
        if split.tags is not None:
            digest.update(split.tags.offsets.astype("<i8").tobytes())
            digest.update(split.tags.values.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def _lists(arrays: Iterator[pa.Array], kept: npt.NDArray[np.int64] | None) -> Iterator[list[str]]:
    """Arrays as lists of strings. kept: the rows that are wanted, in order; None: all."""
    start = 0
    for array in arrays:
        if kept is None:
            yield array.to_pylist()
        else:
            first, last = np.searchsorted(kept, [start, start + len(array)])
            yield array.take(pa.array(kept[first:last] - start)).to_pylist()
        start += len(array)


def _numbered(name: str, rows: npt.NDArray[np.int64]) -> Iterator[list[str]]:
    """Ids for rows that have none."""
    for start in range(0, len(rows), CHUNK_TEXTS):
        yield [f"{name}-{row}" for row in rows[start : start + CHUNK_TEXTS].tolist()]
