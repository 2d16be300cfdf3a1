"""What a vector file is, remembered from when it was last looked at: planning a run opens no file of gigabytes."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench import remembered
from bench.config import EmbeddingConfig
from bench.embeddings.formats.archives import is_zip
from bench.embeddings.formats.kinds import Layout, inspect
from bench.embeddings.vectors import Kind
from bench.files import sha256_of


def layout_of(path: Path, embedding: EmbeddingConfig) -> Layout:
    """The format and the dimension of a file. In an archive, `embedding.member` is looked at, else the member whose
    name says `embedding.dimension` (`glove.6B.100d.txt`), else the first that matches one of `embedding.files`.

    Raises: `UserError` if it holds no word vectors that can be read here.
    """
    named = embedding.path is not None
    asked = [embedding.member, embedding.files, embedding.dimension, named]
    memory = remembered.Memory(["layout", remembered.sources_digest(Path(__file__).parent), asked], [path])
    known = memory.recall()
    if known is not None:
        return Layout(cast(Kind, known["kind"]), cast("str | None", known["member"]), cast(int, known["dimension"]))
    member = embedding.member if named else None  # of a file that was named, a wrong member is an error
    if is_zip(path):
        member = embedding.member or _choose_member(path, embedding.files or [], embedding.dimension)
    layout = inspect(path, member)
    memory.keep({"kind": layout.kind, "member": layout.member, "dimension": layout.dimension})
    return layout


def remembered_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; read only if the file has changed since it was last asked for."""
    memory = remembered.Memory("sha256", [path])
    known = memory.recall()
    if known is None:
        known = {"sha256": sha256_of(path)}
        memory.keep(known)
    return str(known["sha256"])


def fingerprint_of(path: Path, layout: Layout) -> str:
    """Sixteen hexadecimal digits of the vectors' content: the SHA-256 of the file's bytes, and where they alone do not
    settle it, of the member's name or of the file with the words."""
    parts = [remembered_sha256(path)]
    if layout.member is not None:
        parts.append(layout.member)
    if layout.kind == "array":
        from bench.embeddings.formats.array_format import index_beside

        parts.append(remembered_sha256(index_beside(path)))
    return parts[0][:16] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _choose_member(path: Path, patterns: Sequence[str], dimension: int | None) -> str | None:
    """None where no member matches a pattern, or where the archive is damaged: whoever opens it says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile):
        return None
    lasts = [pattern.rpartition("/")[2] for pattern in patterns]
    fitting = [name for last in lasts for name in names if fnmatch.fnmatch(name.rpartition("/")[2], last)]
    if dimension is not None:
        says = re.compile(rf"(?<!\d){dimension}d(?![a-z\d])", re.IGNORECASE)
        fitting.sort(key=lambda name: says.search(name) is None)
    return fitting[0] if fitting else None
