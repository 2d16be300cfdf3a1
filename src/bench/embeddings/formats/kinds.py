"""Which format a vector file has, told by its first bytes, and the reader for each.

A new format is one kind in `vectors.py`, one entry here, and a module of its own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from bench.embeddings.formats.archives import member_of, opened
from bench.embeddings.formats.fasttext_layout import is_model
from bench.embeddings.vectors import Kind, VectorFile, WordVectors
from bench.errors import UserError

_READERS: dict[Kind, str] = {
    "text": "bench.embeddings.formats.text_format:open_text",
    "word2vec_binary": "bench.embeddings.formats.binary_format:BinaryVectors",
    "fasttext_binary": "bench.embeddings.formats.fasttext_format:FastTextVectors",
    "navec": "bench.embeddings.formats.navec_format:NavecVectors",
    "array": "bench.embeddings.formats.array_format:ArrayVectors",
}
_INSPECTORS: dict[Kind, str] = {
    "text": "bench.embeddings.formats.text_format:inspect_text",
    "word2vec_binary": "bench.embeddings.formats.binary_format:inspect_binary",
    "fasttext_binary": "bench.embeddings.formats.fasttext_format:inspect_fasttext",
    "navec": "bench.embeddings.formats.navec_format:inspect_navec",
    "array": "bench.embeddings.formats.array_format:inspect_array",
}
_HEAD_BYTES = 4096
_FASTTEXT = struct.pack("<i", 793712314)  # FASTTEXT_FILEFORMAT_MAGIC_INT32 in fastText's src/fasttext.cc
_PICKLE = re.compile(rb"\x80[\x02-\x05]|ctorch|\(dp0")
_HEADER = re.compile(rb"\d{1,12} (\d{1,6})[ \r]*\n")
_NO_NUMBER = re.compile(rb"[^\x20-\x7e\t\r]")


@dataclass(frozen=True)
class Layout:
    """What a vector file is. kind: its format;  member: the file inside an archive, or None;  dimension: elements per
    vector."""

    kind: Kind
    member: str | None
    dimension: int


def inspect(path: Path, member: str | None = None) -> Layout:
    """The format and dimension of a vector file; no more than its first bytes are read.

    member: the file inside a .zip archive; None: its only vector file.
    Raises: `UserError`, one line, if it holds no word vectors that can be read here.
    """
    if path.is_dir():
        raise UserError(f"embedding.path={path}: a folder; name the vector file in it")
    member = member_of(path, member)
    with opened(path, member) as stream:
        head = stream.read(_HEAD_BYTES)
    kind = _kind(path, head)
    inspector = cast(Callable[..., int], _named(_INSPECTORS[kind]))
    if member is None:
        return Layout(kind, None, inspector(path))
    if kind in ("navec", "array"):
        raise UserError(f"embedding.path={path.name}: {member} cannot be read inside an archive; unpack it first")
    return Layout(kind, member, inspector(path, member))


def open_vectors(file: VectorFile) -> WordVectors:
    """Open a vector file with the reader of its format; text is converted in the cache the first time.

    Raises: `UserError` that names file, line or row, and reason.
    """
    return cast(Callable[[VectorFile], WordVectors], _named(_READERS[file.kind]))(file)


def _kind(path: Path, head: bytes) -> Kind:
    """The format of a file that begins so; whatever is nothing else is taken for text."""
    if head.startswith(_FASTTEXT) or is_model(head):
        return "fasttext_binary"
    if head.startswith(b"\x93NUMPY"):
        return "array"
    if head[257:262] == b"ustar":
        return "navec"
    if _PICKLE.match(head):
        raise UserError(
            f"embedding.path={path.name}: a Python pickle, which can run code when it is read; "
            "save the vectors as text, such as with gensim's save_word2vec_format"
        )
    header = _HEADER.match(head)
    if header is None:
        return "text"
    numbers = head[header.end() :].partition(b" ")[2][: 4 * int(header[1])]  # of the first row, if they are binary
    return "word2vec_binary" if _NO_NUMBER.search(numbers.partition(b"\n")[0] or numbers) else "text"


def _named(place: str) -> object:
    """What `module:name` names; formats are imported when one is met."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
