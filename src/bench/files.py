"""Files that appear whole or not at all, and the folder where downloads and encoded corpora are kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError


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


def without_home(text: str) -> str:
    """The text with the home folder written as `~`: records and trackers hold nothing private to a machine."""
    home = str(Path.home())
    return text if home in ("", "/") else text.replace(home, "~")
