"""Files read as they are: plain, .gz, .xz, .bz2, and the member of a .zip. Their first bytes tell which."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from bench.errors import UserError, did_you_mean

_Opener = Callable[[Path, str], BinaryIO]

_STREAMS = {
    re.compile(rb"\x1f\x8b"): cast(_Opener, gzip.open),
    re.compile(rb"\xfd7zXZ\x00"): cast(_Opener, lzma.open),
    re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45)"): cast(_Opener, bz2.open),
}
_ZIP = re.compile(rb"PK(\x03\x04|\x05\x06)")
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError)
_VECTORS = (".txt", ".vec", ".bin")


@contextmanager
def opened(path: Path, member: str | None = None) -> Iterator[BinaryIO]:
    """The bytes of a vector file as if it were not compressed.

    member: the file inside a .zip, from `member_of`.
    Raises: `UserError` in one line, here and while it is read, for what cannot be read, archives cut short among it.
    """
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive, archive.open(member or "") as stream:
                yield cast(BinaryIO, stream)
        else:
            with _opener(path)(path, "rb") as stream:
                yield stream
    except KeyError:
        raise UserError(f"embedding.member={member}: {path.name} has no such file") from None
    except _BROKEN as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"embedding.path={path.name}: cannot be read ({reason}); is the download complete?") from None


def is_zip(path: Path) -> bool:
    """Whether a file is a .zip archive, by its first bytes."""
    return _ZIP.match(_first_bytes(path)) is not None


def is_compressed(path: Path) -> bool:
    """Whether a file has to be unpacked to be read, so that it cannot be memory-mapped."""
    return is_zip(path) or any(magic.match(_first_bytes(path)) for magic in _STREAMS)


def member_of(path: Path, asked: str | None) -> str | None:
    """The file inside an archive that is to be read: the one asked for, else its only vector file; None for no archive.

    Raises: `UserError` if there is none or several to choose from, or if a member's name leads out of the archive.
    """
    if not is_zip(path):
        if asked is not None:
            raise UserError(f"embedding.member={asked}: {path.name} is no .zip archive; leave the key out")
        return None
    names = _members(path)
    if asked is not None:
        if asked not in names:
            raise UserError(f"embedding.member={asked}: {path.name} has no such file; {did_you_mean(asked, names)}")
        return asked
    found = [name for name in names if name.lower().endswith(_VECTORS)]
    if not found:
        raise UserError(
            f"embedding.path={path.name}: no .txt, .vec or .bin file among the {len(names)} in this archive"
        )
    if len(found) > 1:
        raise UserError(
            f"embedding.path={path.name} holds {len(found)} vector files: add embedding.member=NAME, "
            f"one of {', '.join(found)}"
        )
    return found[0]


def _members(path: Path) -> list[str]:
    """The files of an archive; its folders and macOS's shadow files are passed over."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except _BROKEN as error:
        raise UserError(f"embedding.path={path.name}: cannot be read ({error}); is the download complete?") from None
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match("[A-Za-z]:", entry.filename):
            raise UserError(
                f"embedding.path={path.name}: its member {entry.filename!r} leads out of the archive; it is not read"
            )
        if entry.flag_bits & 1:
            raise UserError(f"embedding.path={path.name}: its member {entry.filename!r} is encrypted; unpack it first")
    return [entry.filename for entry in entries if not entry.filename.startswith("__MACOSX/")]


def _opener(path: Path) -> _Opener:
    head = _first_bytes(path)
    return next((opener for magic, opener in _STREAMS.items() if magic.match(head)), cast(_Opener, open))


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(10)
    except OSError as error:
        raise UserError(f"embedding.path={path}: cannot be read ({error.strerror})") from None
