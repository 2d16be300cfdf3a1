"""Lines from a file, a pipe or a keyboard as soon as they have arrived: many at once where many wait."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

_BLOCK = 1 << 16  # bytes read at once
_MOST_BYTES = 1 << 22  # after which nothing more is waited for, however few lines these are


def arriving_lines(descriptor: int, most: int) -> Iterator[list[bytes]]:
    """All lines in their order, without the newline that ends them; the last one need not have one.

    A list ends where nothing more is there to be read yet, so that a line typed by hand is alone in its list, and a
    file comes in lists of `most` lines.
    """
    lines: list[bytes] = []
    begun: list[bytes] = []  # pieces of a line whose end has not arrived
    size = 0
    while block := os.read(descriptor, _BLOCK):
        first, *others = block.split(b"\n")
        begun.append(first)
        size += len(block)
        if others:
            lines += [b"".join(begun), *others[:-1]]
            begun = [others[-1]]
        while len(lines) >= most:
            yield lines[:most]
            lines, size = lines[most:], 0
        if lines and (size >= _MOST_BYTES or not _more_waits(descriptor)):
            yield lines
            lines, size = [], 0
    last = b"".join(begun)
    if lines or last:
        yield [*lines, last] if last else lines


def _more_waits(descriptor: int) -> bool:
    """Whether reading would return at once: there are bytes, or the end has come."""
    return bool(select.select([descriptor], [], [], 0)[0])
