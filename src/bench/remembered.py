"""What was once found out about files, remembered for as long as they do not change.

    CACHE/fingerprints/<digest>.json

The digest is that of the files' places, sizes and times of change, and of a key that says what is asked of them.
Deleting is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bench.errors import UserError
from bench.files import cache_root, write_atomically

_SETTLED_SECONDS = 2.0  # a file that changed just now could change again without a trace in its size and times


class Memory:
    """What is remembered of these files, as they are now."""

    def __init__(self, key: object, files: Sequence[Path]) -> None:
        """Look at the files. key: what is asked of them, JSON;  files: none where nothing is to be remembered."""
        self._path = _path(key, files)

    def recall(self) -> Mapping[str, object] | None:
        """What was kept, if these very files have been asked the same before."""
        try:
            tree = json.loads(self._path.read_text(encoding="utf-8")) if self._path else None
        except (OSError, ValueError):
            return None
        return tree if isinstance(tree, dict) else None

    def keep(self, known: Mapping[str, object]) -> None:
        """Remember; a folder that cannot be written to only costs time."""
        if self._path is not None:
            text = json.dumps(known) + "\n"
            with suppress(OSError, UserError):
                write_atomically(self._path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def forget(self) -> None:
        """The files hold something else after all."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@cache
def sources_digest(folder: Path) -> str:
    """A hash of the Python modules in a folder, for answers that depend on who gave them."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _path(key: object, files: Sequence[Path]) -> Path | None:
    """Where answers about these files are kept; None where they cannot be told from others."""
    try:
        states = [(str(path.resolve()), os.stat(path)) for path in files]
    except OSError:
        return None
    latest = max((max(state.st_mtime, state.st_ctime) for _, state in states), default=None)
    if latest is None or time.time() - latest < _SETTLED_SECONDS:
        return None
    seen = [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in states]
    digest = hashlib.sha256(json.dumps([key, seen]).encode()).hexdigest()
    return cache_root() / "fingerprints" / f"{digest[:16]}.json"
