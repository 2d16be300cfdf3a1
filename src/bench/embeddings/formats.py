"""Reading vector files: where they are looked for, and GloVe's text format (plain, .gz, .xz), line by line."""

from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bench.config import EmbeddingConfig
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import sha256_of


@dataclass(frozen=True)
class Vectors:
    """Vectors of some words. rows: positions in the list of wanted words;  values: (rows, dimension) float32."""

    rows: np.ndarray
    values: np.ndarray


def find_vectors(embedding: EmbeddingConfig) -> VectorFile | None:
    """The file that `embedding` names: `embedding.path`, then `$BENCH_VECTORS`; None for random vectors.

    Raises: `UserError` if there is none, if it cannot be read, or if it has another dimension than was asked for.
    """
    if embedding.name == "random":
        return None
    path = Path(embedding.path).expanduser() if embedding.path else _in_folder(embedding)
    with _lines(path) as lines:
        _, dimension = _shape(path, lines)
    if embedding.dimension not in (None, dimension):
        raise UserError(
            f"embedding.dimension={embedding.dimension}: {path.name} holds {dimension}-dimensional vectors; "
            "leave the key out, or choose another file"
        )
    return VectorFile(path, dimension, sha256_of(path)[:16])


def read_vectors(file: VectorFile, words: Collection[str]) -> Vectors:
    """The vectors of those `words` that the file holds; the rest of the file is never kept in memory.

    Raises: `UserError` that names file, line and reason for a row of another length or a value that is no number.
    """
    wanted = {word: row for row, word in enumerate(words)}
    rows, values = [], []
    with _lines(file.path) as lines:
        for number, line in enumerate(lines, start=1):
            word, _, rest = line.rstrip().partition(" ")
            row = wanted.pop(word, None)
            if row is None or (number == 1 and _is_header(line)):
                continue
            rows.append(row)
            values.append(_parse(file, number, rest))
            if not wanted:
                break
    empty = np.empty((0, file.dimension), np.float32)
    return Vectors(np.array(rows, np.int64), np.stack(values) if values else empty)


def _parse(file: VectorFile, number: int, text: str) -> np.ndarray:
    try:
        vector = np.array(text.split(" "), dtype=np.float32)
    except ValueError:
        raise UserError(f"{file.path.name}, line {number}: not a row of numbers; is the file damaged?") from None
    if len(vector) != file.dimension:
        raise UserError(f"{file.path.name}, line {number}: {len(vector)} numbers where {file.dimension} were expected")
    if not np.isfinite(vector).all():
        raise UserError(f"{file.path.name}, line {number}: a value is not finite")
    return vector


def _in_folder(embedding: EmbeddingConfig) -> Path:
    named = os.environ.get("BENCH_VECTORS")
    patterns = embedding.files or []
    for pattern in patterns if named else []:
        found = sorted(Path(named or ".").expanduser().glob(pattern))
        if found:
            return found[0]
    where = f"no {' or '.join(patterns)} in $BENCH_VECTORS={named}" if named else "$BENCH_VECTORS is not set"
    raise UserError(
        f"embedding={embedding.name}: embedding.path is not given and {where}; "
        "download a GloVe text file and pass embedding.path=FILE"
    )


def _shape(path: Path, lines: Iterator[str]) -> tuple[str, int]:
    """The first word and the number of values per row."""
    first = next(lines, "")
    if _is_header(first):
        first = next(lines, "")
    word, *values = first.rstrip().split(" ")
    try:
        np.array(values, dtype=np.float32)
    except ValueError:
        values = []
    if not values:
        raise UserError(
            f"embedding.path={path.name}: not word vectors in text format (a word, then numbers, on a line)"
        )
    return word, len(values)


def _is_header(line: str) -> bool:
    """Whether a first line counts rows and dimensions, as word2vec's text format does and GloVe's does not."""
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """Decoded lines of a plain or compressed file; its errors in one line."""
    openers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        stream: IO[str]
        with openers.get(path.suffix, open)(path, "rt", encoding="utf-8", newline="\n") as stream:  # type: ignore[operator]
            yield iter(stream)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"embedding.path={path.name}: cannot be read ({error}); is the download complete?") from None
    except UnicodeDecodeError as error:
        raise UserError(f"embedding.path={path.name}: not UTF-8 text (byte {error.start})") from None
