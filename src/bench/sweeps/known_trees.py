"""What Hydra has composed before, kept in the cache folder: planning a sweep again need not compose it again.

    CACHE/composed/<digest>.json    trees by the groups that were chosen

The digest is that of everything a composition depends on beside these choices: the files in `conf/`, the program's own
sources that compose, Hydra and OmegaConf. A question's file in `sweeps/` is part of the choice. Deleting is safe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import bench.compose
import bench.options
from bench.errors import UserError
from bench.files import cache_root, write_atomically
from bench.options import conf_folder, sweep_files

Tree = dict[str, object]


class KnownTrees:
    """Composed trees by choice; read at the first question, written by `save`."""

    def __init__(self) -> None:
        self._trees: dict[str, Tree] | None = None
        self._path = Path()
        self._fresh: dict[str, Tree] = {}

    def get(self, chosen: Sequence[str]) -> Tree | None:
        """What these overrides compose, if that is known."""
        if self._trees is None:
            self._path = cache_root() / "composed" / f"{_digest()}.json"
            self._trees = _read(self._path)
        return self._trees.get(_key(chosen))

    def add(self, chosen: Sequence[str], tree: Tree) -> None:
        """Remember a tree, unless JSON would change it."""
        if json.loads(json.dumps(tree)) == tree:
            self._fresh[_key(chosen)] = tree

    def save(self) -> None:
        """Keep what is new; a folder that cannot be written to only costs time."""
        if self._fresh:
            trees = {**_read(self._path), **self._fresh}
            self._fresh = {}
            with suppress(OSError, UserError):
                write_atomically(self._path, lambda path: path.write_text(json.dumps(trees), encoding="utf-8"))


def _key(chosen: Sequence[str]) -> str:
    """The overrides, and the content of the questions among them."""
    names = [override.partition("=")[2] for override in chosen if override.lstrip("+").startswith("sweep=")]
    files = [path.read_bytes() for name, path in sweep_files().items() if name in names] if names else []
    return json.dumps([*chosen, *(hashlib.sha256(content).hexdigest() for content in files)])


def _digest() -> str:
    import hydra
    import omegaconf

    folder = conf_folder()
    sources = [bench.compose.__file__, bench.options.__file__, __file__]
    paths = [*sorted(folder.rglob("*.yaml")), *map(Path, sources)]
    digest = hashlib.sha256(f"{hydra.__version__} {omegaconf.__version__}".encode())
    for path in paths:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(folder) if path.is_relative_to(folder) else path.name}\0".encode())
        digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, Tree]:
    """What is kept; nothing where there is no file, or a damaged one."""
    try:
        trees = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return trees if isinstance(trees, dict) else {}
