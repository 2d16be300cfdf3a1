"""Binary vector files as plain bytes on disk, so that they can be memory-mapped: a compressed one is unpacked once."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import BinaryIO

from bench.embeddings.formats.archives import is_compressed, opened
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError
from bench.files import built_once, cache_root

_CHUNK_BYTES = 1 << 20


def plain_file(file: VectorFile) -> Path:
    """The file itself, or the copy in the cache that a compressed file or an archive's member is unpacked to.

    Raises: `UserError` if the file is cut short or damaged, or if the disk is full; nothing stays in the cache then.
    """
    if not is_compressed(file.path):
        return file.path
    return built_once(cached(file, "unpacked"), _complete, lambda folder: _unpack(file, folder))


def refuse_compressed(path: Path) -> None:
    """Raise `UserError` for a compressed file of a format that is never published so."""
    if is_compressed(path):
        raise UserError(f"{path.name}: compressed; unpack it and name the file that comes out")


def cached(file: VectorFile, part: str) -> Path:
    """The folder of the cache for one thing that is made of a file: `part` says which."""
    key = hashlib.sha256(f"{file.fingerprint} {file.member} {part}".encode()).hexdigest()[:16]
    name = (file.member or file.path.name).rpartition("/")[2]
    return cache_root() / "vectors" / f"{name}-{key}"


def mapped(path: Path) -> mmap.mmap:
    """The bytes of a plain file, memory-mapped: only what is looked at is read.

    Raises: `UserError` in one line if the file is empty or cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name}: cannot be read ({error}); is the download complete?") from None


def release(content: mmap.mmap) -> None:
    """Let go of what was read of a mapped file: it no longer counts as this process's memory, and can be read again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)


def name_of(path: Path, member: str | None) -> str:
    """What errors call a file: its name, and that of the member within."""
    return path.name if member is None else f"{path.name}, {member}"


def _unpack(file: VectorFile, folder: Path) -> None:
    part = folder / "part"
    with opened(file.path, file.member) as packed, part.open("wb") as plain:
        while chunk := packed.read(_CHUNK_BYTES):
            _write(plain, chunk, file.path)
    part.rename(folder / f"{part.stat().st_size}.bin")


def _write(plain: BinaryIO, chunk: bytes, path: Path) -> None:
    try:
        plain.write(chunk)
        plain.flush()
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be unpacked in {cache_root()}: {error.strerror}; choose another: BENCH_CACHE=DIR"
        ) from None


def _complete(folder: Path) -> Path | None:
    """The unpacked file; its name is its size, so that one cut short is noticed."""
    found = next(folder.glob("*.bin"), None)
    return found if found and found.stem == str(found.stat().st_size) else None
