"""What files and folders weigh, for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def readable(size: float) -> str:
    """A size in bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def files_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file below a folder with its size in bytes; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                size = path.lstat().st_size
            except FileNotFoundError:  # a run may be at work here
                continue
            yield path, size
