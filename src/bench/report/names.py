"""Names of files and anchors, from names that may hold anything."""

from __future__ import annotations

import re


def file_name(name: str) -> str:
    """Letters, digits, `.`, `_` and `-` only, no leading dot, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "unnamed"
