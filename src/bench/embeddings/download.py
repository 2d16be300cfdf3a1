"""One large file from its official address: resumed after a break, checked before use, fetched by one process only.

    FOLDER/<file>.part        what has arrived so far
    FOLDER/<file>.part.json   its address, and what the server calls this version of it

A server that has another version by now sends it from the beginning (RFC 9110, If-Range).
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from bench.embeddings.progress import Show, megabytes, shown
from bench.errors import UserError
from bench.files import make_folder, sha256_of
from bench.network import reason_of, why_unreachable

_SILENCE_SECONDS = 30.0  # a server that sends nothing for so long has gone
_ATTEMPTS = 3  # in a row that bring nothing
_PAUSE_SECONDS = 0.5  # between attempts, longer each time
_PIECE = 1 << 20  # bytes


class _Broken(Exception):
    """The connection ended before the file did."""


def download(url: str, sha256: str, target: Path) -> None:
    """Bring the file at `url` to `target`. Another process at the same work is waited for.

    sha256: of the whole file, in hexadecimal; anything else is deleted.
    Raises: `UserError` in one line, within three seconds where the address cannot be reached.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"embedding.url={url}: no address of a file: write https://…")
    make_folder(target.parent)
    with _alone(target):
        if target.exists():
            return
        reason = why_unreachable(url)
        if reason is not None:
            raise UserError(f"{urlsplit(url).netloc} cannot be reached for {target.name} ({reason})")
        part = _Part(target, url)
        with shown(target.name) as show:
            _bring(part, show)
        found = sha256_of(part.path)
        if found != sha256:
            part.remove()
            raise UserError(
                f"{url} was deleted after its download: its SHA-256 is {found}, embedding.sha256 says {sha256}; "
                "it was damaged on the way, or there is a new file: type the command again, or set embedding.sha256"
            )
        part.finish()


class _Part:
    """A download that is not complete yet."""

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.url = url
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        """What the server called the version that these bytes belong to; None if they cannot be continued."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return cast("str | None", note["version"]) if note["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, version: str | None) -> None:
        """Start from nothing."""
        self.remove()
        self._note.write_text(json.dumps({"url": self.url, "version": version}) + "\n", encoding="utf-8")

    def remove(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Move the whole file into place."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)


def _bring(part: _Part, show: Show) -> None:
    """Transfer all of the file, going on where a connection breaks off."""
    failed = 0
    while True:
        before = part.size
        try:
            return _transfer(part, show)
        except _Broken as error:
            failed = 0 if part.size > before else failed + 1
            if failed == _ATTEMPTS:
                raise UserError(
                    f"the download of {part.url} broke off after {megabytes(part.size)} ({error}): "
                    "type the command again, it goes on from there"
                ) from None
            time.sleep(_PAUSE_SECONDS * failed)


def _transfer(part: _Part, show: Show) -> None:
    """One request for what is still missing."""
    headers = {"User-Agent": "bench", "Accept-Encoding": "identity"}
    here, version = part.size, part.version
    if here and version is not None:
        headers |= {"Range": f"bytes={here}-", "If-Range": version}
    try:
        response = urllib.request.urlopen(urllib.request.Request(part.url, headers=headers), timeout=_SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise UserError(_refused(part.url, error.code)) from None
        if error.headers.get("Content-Range") == f"bytes */{here}":
            return  # nothing is missing
        part.remove()
        raise _Broken("the server has another file now") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(reason_of(error)) from None
    with response:
        _receive(response, part, show)


def _receive(response: http.client.HTTPResponse, part: _Part, show: Show) -> None:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        with _writing(part):
            part.begin(_version(response))
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
        part.remove()
        raise _Broken("the server sent another part than was asked for")
    here = part.size
    length = response.headers.get("Content-Length")
    total = here + int(length) if length is not None else None
    _require_space(part, (total or here) - here)
    show(here, total)
    with _writing(part), part.path.open("ab") as stream:
        for piece in _pieces(response):
            stream.write(piece)
            here += len(piece)
            show(here, total)
    if total is not None and here < total:
        raise _Broken("the server closed the connection")


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read1(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(reason_of(error)) from None
        if not piece:
            return
        yield piece


def _version(response: http.client.HTTPResponse) -> str | None:
    """What the server calls this version of the file: a strong ETag, else the time of its last change."""
    tag = response.headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _require_space(part: _Part, missing: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if missing > free:
        raise UserError(
            f"{part.target.name} needs {megabytes(missing)} more in {part.path.parent}, {megabytes(free)} are free: "
            "make room, or choose another folder with BENCH_CACHE=DIR"
        )


@contextmanager
def _writing(part: _Part) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {part.path}: {error.strerror}; make room, or choose another folder with BENCH_CACHE=DIR; "
            "typed again, the command goes on from there"
        ) from None


def _refused(url: str, status: int) -> str:
    what = "is not there" if status in (404, 410) else "is refused"
    return f"{url} {what} (HTTP {status}): download it elsewhere and set embedding.path=FILE, or set embedding.url=URL"


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the file's lock; say so where that has to be waited for."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"another process is downloading {target.name}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
