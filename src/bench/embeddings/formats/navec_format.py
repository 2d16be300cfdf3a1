"""Navec, Russian word vectors (Kukushkin 2020), https://github.com/natasha/navec: a tar of quantised vectors.

    meta.json    {"id", "protocol"}
    vocab.bin    gzip: uint32 words, uint32 count of each, the words in lines
    pq.bin       uint32 vectors, dimension, parts, centroids · uint8 (vectors, parts) · float32 (parts, centroids, -1)

A vector is put together of its parts: each is one of a few centroids. Words and codes are read by the `navec` library;
nothing is extracted to disk, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bench.embeddings.formats.store import rows_of
from bench.embeddings.formats.unpacked import cached, refuse_compressed
from bench.embeddings.formats.word_list import keep_words, kept_words
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once

_META, _WORDS, _CODES = "meta.json", "vocab.bin", "pq.bin"
_HEADER_BYTES = 16
_NO_WORDS = {"<unk>", "<pad>"}


@dataclass(frozen=True)
class _Codes:
    """What the first bytes of pq.bin promise. begin: the byte of the tar at which the codes begin."""

    vectors: int
    dimension: int
    parts: int
    centroids: int
    begin: int


def inspect_navec(path: Path) -> int:
    """The dimension of the vectors in a Navec file, from the tar's own headers.

    Raises: `UserError` in one line if it is none, if it is cut short, or if its sizes do not fit together.
    """
    refuse_compressed(path)
    try:
        with tarfile.open(path, "r:") as tar:
            return _inspect(tar, path).dimension
    except (OSError, tarfile.TarError) as error:
        raise _damaged(path, error) from None


class NavecVectors:
    """An open Navec file; the protocol `bench.embeddings.vectors.WordVectors`.

    Sizes are checked when it is opened, words when that is done for the first time; codes are read in place, and
    checked, for the rows asked for.
    """

    def __init__(self, file: VectorFile) -> None:
        """Open the file.

        Raises: `UserError` that names file, member or row, and reason, or the package that is missing.
        """
        self._path = file.path
        _require_library()
        try:
            with tarfile.open(file.path, "r:") as tar:
                codes = self._codes = _inspect(tar, file.path)
                self._words = built_once(
                    cached(file, "words"),
                    lambda folder: kept_words(folder, codes.vectors),
                    lambda folder: _keep_words(tar, codes.vectors, file.path, folder),
                )
        except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
            raise _damaged(file.path, error) from None
        self._map_codes()

    @property
    def dimension(self) -> int:
        """Elements per vector."""
        return self._codes.dimension

    def find(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int64: the row of each word exactly as written, -1 for those that the file lacks."""
        rows = rows_of(self._words, words)
        rows[[word in _NO_WORDS for word in words]] = -1
        return rows

    def values(self, rows: np.ndarray) -> np.ndarray:
        """(rows, dimension) float32: the vectors of some rows.

        Raises: `UserError` that names the first row with a code that stands for no centroid.
        """
        from navec.pq import PQ

        codes = self._codes
        indexes = self._indexes[rows]
        wrong = np.flatnonzero((indexes >= codes.centroids).any(axis=1))
        if len(wrong):
            row = int(rows[wrong[0]]) + 1
            raise UserError(f"{self._path.name}, {_CODES}, row {row}: a code beyond the {codes.centroids} centroids")
        pq = PQ(len(rows), codes.dimension, codes.parts, codes.centroids, indexes, self._centroids)
        return np.asarray(pq.unpack(), np.float32)

    def compose(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """None: the format has no character n-grams."""
        return None

    def _map_codes(self) -> None:
        """Map the codes of all rows, (vectors, parts) uint8; read the centroids, (parts, centroids, -1) float32."""
        codes = self._codes
        shape = (codes.vectors, codes.parts)
        self._indexes = np.memmap(self._path, np.uint8, "r", codes.begin, shape)
        count = codes.centroids * codes.dimension
        values = np.fromfile(self._path, "<f4", count, offset=codes.begin + codes.vectors * codes.parts)
        if not np.isfinite(values).all():
            raise UserError(f"{self._path.name}, {_CODES}: a value is not finite; is the file damaged?")
        self._centroids = values.reshape(codes.parts, codes.centroids, -1)


def _inspect(tar: tarfile.TarFile, path: Path) -> _Codes:
    """Check the members and sizes of a tar that ought to be Navec's."""
    members = {member.name: member for member in tar.getmembers()}
    for name in members:
        if name.startswith("/") or ".." in Path(name).parts:
            raise UserError(f"{path.name}: its member {name} leads out of the archive; it is not to be trusted")
    missing = [name for name in (_META, _WORDS, _CODES) if name not in members or not members[name].isreg()]
    if missing:
        raise UserError(f"{path.name}: no file {missing[0]} in it; is it a Navec file (navec_*.tar)?")
    size = path.stat().st_size
    for member in members.values():
        if member.offset_data + member.size > size:
            raise UserError(f"{path.name}: ends at byte {size}, within {member.name}; is the download complete?")
    return _read_codes(tar, members[_CODES], path)


def _read_codes(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> _Codes:
    header = _content(tar, member.name).read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise UserError(f"{path.name}, {_CODES}: {len(header)} bytes long; is the file damaged?")
    vectors, dimension, parts, centroids = np.frombuffer(header, "<u4").tolist()
    due = _HEADER_BYTES + vectors * parts + 4 * centroids * dimension
    if not (vectors and dimension and 0 < centroids <= 256 and parts and dimension % parts == 0) or due != member.size:
        raise UserError(
            f"{path.name}, {_CODES}: {member.size} bytes, where {vectors} vectors of dimension {dimension} in {parts} "
            f"parts with {centroids} centroids make {due}; is the file damaged?"
        )
    return _Codes(vectors, dimension, parts, centroids, member.offset_data + _HEADER_BYTES)


def _keep_words(tar: tarfile.TarFile, vectors: int, path: Path, folder: Path) -> None:
    """Keep the words in the cache, read by the library: as many as there are vectors, and each once.

    Raises: `UserError` if they are not; `ValueError` for another protocol or damaged content.
    """
    from navec.meta import Meta
    from navec.vocab import Vocab

    Meta.from_file(_content(tar, _META))
    with gzip.open(_content(tar, _WORDS)) as stream:
        promised = int.from_bytes(stream.read(4), "little")
    words: list[str] = Vocab.from_file(_content(tar, _WORDS)).words if promised == vectors else []
    if len(words) != vectors:
        raise UserError(f"{path.name}: {len(words) or promised} words but {vectors} vectors; is the file damaged?")
    keep_words(folder, [words], name=f"{path.name}, {_WORDS}", unit="line")


def _require_library() -> None:
    try:
        import navec  # noqa: F401
    except ImportError:
        raise UserError("embedding=navec needs the navec library; type: pip install 'recurrent-bench[navec]'") from None


def _content(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is no file")
    return stream


def _damaged(path: Path, error: Exception) -> UserError:
    reason = "meta.json is no JSON" if isinstance(error, json.JSONDecodeError) else error
    return UserError(f"{path.name}: not a Navec file, or a damaged one ({reason}); is the download complete?")
