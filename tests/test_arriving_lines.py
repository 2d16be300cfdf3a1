"""Lines are handed on whole, in order, and no later than they have arrived."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.verbs.arriving_lines import arriving_lines

CONTENTS = {
    "nothing": b"",
    "one empty line": b"\n",
    "no newline at the end": b"one\ntwo",
    "empty lines between": b"one\n\n\ntwo\n",
    "longer than what is read at once": b"short\n" + b"x" * 200_000 + b"\n" + b"y" * 70_000,
    "many": b"".join(b"line %d\n" % number for number in range(30_000)),
}


def lists_of(path: Path, most: int) -> list[list[bytes]]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(arriving_lines(descriptor, most))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("most", [1, 1000])
def test_every_line_comes_once_and_in_order(content: bytes, most: int, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(content)
    found = lists_of(tmp_path / "texts", most)
    assert [line for lines in found for line in lines] == content.splitlines()
    assert all(1 <= len(lines) <= most for lines in found)


def test_a_file_comes_in_lists_of_the_full_size(tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(CONTENTS["many"])
    assert [len(lines) for lines in lists_of(tmp_path / "texts", 7000)] == [7000, 7000, 7000, 7000, 2000]


def test_what_has_arrived_is_not_kept_waiting_for_more() -> None:
    reading, writing = os.pipe()
    arriving = arriving_lines(reading, 1000)
    os.write(writing, b"one\ntwo\nthr")
    assert next(arriving) == [b"one", b"two"]
    os.write(writing, b"ee\n")
    assert next(arriving) == [b"three"]
    os.write(writing, b"four")
    os.close(writing)
    assert next(arriving) == [b"four"]
    assert list(arriving) == []
    os.close(reading)
