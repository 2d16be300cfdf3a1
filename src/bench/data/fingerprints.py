"""What a corpus is, remembered from when its files were last read: whoever only needs to know that need not read them.

    CACHE/fingerprints/<digest>.json    class names and fingerprint

The digest is that of the files' sizes and times of change, of the keys that say how they are read, and of the sources
that read them. Deleting is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.config import DataConfig
from bench.errors import UserError
from bench.files import cache_root, write_atomically

_SETTLED_SECONDS = 2.0  # a file that changed just now could change again without a trace in its size and times
_HOW_IT_IS_READ = (
    "name", "path", "mirror", "package", "hub_id", "hub_config", "hub_revision", "hub_splits", "text_column",
    "label_column", "labels", "deduplicate",
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is remembered of a corpus; see `bench.data.sources.Corpus`."""

    label_names: tuple[str, ...]
    fingerprint: str


class Memory:
    """What is remembered of the corpus in these files, as they are now."""

    def __init__(self, data: DataConfig, files: Sequence[Path]) -> None:
        """Look at the files. files: none where nothing is to be remembered."""
        self._path = _path(data, files)

    def recall(self) -> Known | None:
        """The corpus, if these very files have been read before."""
        try:
            tree = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
            return Known(tuple(tree["label_names"]), str(tree["fingerprint"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, known: Known) -> None:
        """Remember; a folder that cannot be written to only costs time."""
        if self._path is not None:
            text = json.dumps({"label_names": known.label_names, "fingerprint": known.fingerprint}) + "\n"
            with suppress(OSError, UserError):
                write_atomically(self._path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def forget(self) -> None:
        """The files hold something else after all."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _path(data: DataConfig, files: Sequence[Path]) -> Path | None:
    """Where the corpus in these files is remembered; None where they cannot be told from others."""
    try:
        states = [(str(path.resolve()), os.stat(path)) for path in files]
    except OSError:
        return None
    latest = max((max(state.st_mtime, state.st_ctime) for _, state in states), default=None)
    if latest is None or time.time() - latest < _SETTLED_SECONDS:
        return None
    seen = [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in states]
    key = [_sources(), [getattr(data, name) for name in _HOW_IT_IS_READ], seen]
    return cache_root() / "fingerprints" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"


@cache
def _sources() -> str:
    """A hash of the modules beside this one."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
