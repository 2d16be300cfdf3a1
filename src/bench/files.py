"""Files that appear whole or not at all, and the folder where downloads and encoded corpora are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from bench.errors import UserError

Built = TypeVar("Built")


def cache_root() -> Path:
    """`$BENCH_CACHE`, else `bench` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    named = os.environ.get("BENCH_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bench"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then move it into place: readers see all of it or nothing.

    Raises: `UserError` if the folder cannot be written to.
    """
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well; one that is there by then stays."""
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as name:
        work = Path(name) / path.name
        work.mkdir()
        yield work
        try:
            work.rename(path)
        except OSError:
            if not path.is_dir():
                raise


def built_once(folder: Path, read: Callable[[Path], Built | None], build: Callable[[Path], object]) -> Built:
    """What a folder of the cache holds, built first if it is absent or damaged.

    Many processes may ask at once: one builds, the others wait for it and read.
    read: what is in the folder, or None if it is absent or damaged;  build: fills an empty folder.
    Raises: `UserError` if the cache cannot be written to, and whatever `build` raises; nothing is left behind then.
    """
    found = read(folder)
    if found is not None:
        return found
    make_folder(folder.parent)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        found = read(folder)
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            with folder_atomically(folder) as work:
                build(work)
            found = read(folder)
    if found is None:
        raise UserError(f"{folder} cannot be read back after it was written: is the disk full or damaged?")
    return found


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises: `UserError` in one line if that is not allowed here.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; choose another folder")


def is_utf8(raw: bytes) -> bool:
    """Whether these bytes are text."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def without_home(text: str) -> str:
    """The text with the home folder written as `~`: records and trackers hold nothing private to a machine."""
    home = str(Path.home())
    return text if home in ("", "/") else text.replace(home, "~")
