"""The sources of another package's cell: part of a run's name, as this program's own are through the code version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.declarations import BASELINES, DECLARED, foreign
from bench.errors import UserError


@cache
def cell_fingerprint(cell: str) -> str | None:
    """12 hexadecimal digits that change with the Python sources of the package that has the cell; None for our own.

    Raises: `UserError` if the sources cannot be read.
    """
    if cell in DECLARED or cell in BASELINES:
        return None
    found = foreign(cell)
    digest = hashlib.sha256()
    for top in sorted({found.declared_in.partition(".")[0], found.place[0].partition(".")[0]}):
        for name, path in _sources(cell, top):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def cell_package(cell: str) -> dict[str, str]:
    """Name and version of the package that has the cell; empty for our own."""
    if cell_fingerprint(cell) is None:
        return {}
    name, _, version = foreign(cell).package.rpartition(" ")
    return {name: version}


def _sources(cell: str, top: str) -> Iterator[tuple[str, Path]]:
    """All modules of a top-level package, or the one module, with their names; nothing is imported."""
    spec = find_spec(top)
    folders = [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []
    paths = [(f"{top}/{path.relative_to(folder).as_posix()}", path) for folder in folders
             for path in sorted(folder.rglob("*.py"))]  # fmt: skip
    if spec and not folders and spec.origin and Path(spec.origin).is_file():
        paths = [(top, Path(spec.origin))]
    if not paths:
        raise UserError(
            f"model.cell={cell}: the sources of the module '{top}' are not found, and a run is named by them"
        )
    yield from paths
