"""What the cache holds: downloads, and what was made of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.embeddings.inspection import remembered_sha256
from bench.files import cache_root
from bench.verbs.sizes import files_below


@dataclass(frozen=True, kw_only=True)
class Cached:
    """Something in the cache. size: bytes;  checksum: of a download the SHA-256 of its bytes, its first 16 digits; of
    what was made here the key of its content and settings; None where a download is not complete."""

    kind: str
    name: str
    size: int
    checksum: str | None
    source: str | None
    path: Path


def cached() -> list[Cached]:
    """Everything that `fetch` and runs have put there, by kind and name."""
    return [found for folder, look in _KINDS.items() for found in look(cache_root() / folder)]


def _corpora(folder: Path) -> Iterator[Cached]:
    for path in _folders(folder):
        tables = sorted(path.glob("*.parquet"))
        digest = hashlib.sha256(" ".join(map(remembered_sha256, tables)).encode()).hexdigest()
        yield Cached(
            kind="corpus", name=path.name, size=_size(path), checksum=digest[:16] if tables else None,
            source=_hub_source(path), path=path,
        )  # fmt: skip


def _hub_source(folder: Path) -> str | None:
    """The dataset and the commit that a download came from."""
    try:
        note = json.loads((folder / "source.json").read_text(encoding="utf-8"))
        return f"{note['hub_id']}@{str(note['revision'])[:12]}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _vector_files(folder: Path) -> Iterator[Cached]:
    for kind in _folders(folder):
        for path in sorted(kind.iterdir()):
            unfinished = path.suffix == ".part"
            if not path.is_file() or path.name.startswith(".") or path.name.endswith(".part.json"):
                continue
            yield Cached(
                kind="vectors (unfinished)" if unfinished else "vectors", name=f"{kind.name}/{path.name}",
                size=path.stat().st_size, checksum=None if unfinished else remembered_sha256(path)[:16],
                source=None, path=path,
            )  # fmt: skip


def _made(kind: str) -> Callable[[Path], Iterator[Cached]]:
    """Folders whose names end in the key of what is in them."""

    def look(folder: Path) -> Iterator[Cached]:
        for path in _folders(folder):
            named = re.fullmatch(r"(?:(.+)-)?([0-9a-f]{8,})", path.name)
            name, key = (named[1] or named[2], named[2]) if named else (path.name, None)
            yield Cached(kind=kind, name=name, size=_size(path), checksum=key, source=None, path=path)

    return look


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _size(folder: Path) -> int:
    return sum(size for _, size in files_below(folder))


_KINDS: Mapping[str, Callable[[Path], Iterator[Cached]]] = {
    "corpora": _corpora,
    "vectors-files": _vector_files,
    "vectors": _made("vectors, ready to read"),
    "trained": _made("trained vectors"),
    "encoded": _made("encoded corpus"),
}
