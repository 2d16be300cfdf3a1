"""Rows of word vectors in text: a word, a blank, numbers separated by blanks, a line each.

Words may hold blanks of their own (GloVe 840B has `. . .`): the last `dimension` fields of a line are its numbers.
Nothing but a line feed ends a line and nothing but a blank separates fields, so that U+0085 or U+00A0 split no word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import csv

_LONGEST_SHOWN = 40


@dataclass(frozen=True)
class TextRows:
    """Some rows. words: an Arrow array of text;  values: (rows, dimension) float32;  broken: rows whose word is not
    UTF-8, its odd bytes written as `\\xNN`, so that no text is ever looked up by it."""

    words: pa.Array
    values: np.ndarray
    broken: tuple[int, ...] = ()


class BadRowError(ValueError):
    """A line that is no row of word vectors. line: counted from 0 in its block."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


def read_rows(block: bytes, dimension: int) -> TextRows:
    """The rows of whole lines.

    pyarrow parses the lines as a table; lines that it makes nothing of are looked at one by one.
    Raises: `BadRowError` for a line of another length, or with a value that is no finite number.
    """
    block = block.replace(b" \n", b"\n")  # fastText ends its lines with a blank
    return _parse(block, dimension) or _read_lines(block, dimension)


def _read_lines(block: bytes, dimension: int) -> TextRows:
    """The rows of lines of which some are out of the ordinary."""
    pairs = [_split(number, line, dimension) for number, line in enumerate(_lines(block))]
    words, broken = _decode([word for word, _ in pairs])
    parsed = _parse(b"".join(b"w " + numbers + b"\n" for _, numbers in pairs), dimension)
    if parsed is not None:
        return TextRows(words, parsed.values, broken)
    values = [_numbers(number, numbers.split(b" ")) for number, (_, numbers) in enumerate(pairs)]
    return TextRows(words, np.array(values, np.float32), broken)


def trailing_numbers(fields: list[bytes]) -> int:
    """How many fields at the end of a line are numbers, its first field left aside: that is its word's."""
    count = 0
    while count < len(fields) - 1 and is_number(fields[-1 - count]):
        count += 1
    return count


def is_number(field: bytes) -> bool:
    """Whether a field is a number as these files write them; `nan` and `inf` are."""
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field and field == field.strip()


def _parse(block: bytes, dimension: int) -> TextRows | None:
    """All rows at once, or None if any line is out of the ordinary."""
    names = ["word", *map(str, range(dimension))]
    if block.startswith(b"\xef\xbb\xbf"):  # pyarrow would take it away, here and at the head of any other block
        return None
    try:
        table = csv.read_csv(
            pa.py_buffer(block),
            csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + 1),
            csv.ParseOptions(delimiter=" ", quote_char=False, escape_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types={name: pa.float32() for name in names} | {"word": pa.string()},
                null_values=[], strings_can_be_null=False,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid:
        return None
    if table.num_rows != block.count(b"\n"):
        return None
    values = np.empty((table.num_rows, dimension), np.float32)
    for column in range(dimension):
        values[:, column] = np.from_dlpack(table.column(column + 1).chunk(0))
    return TextRows(table.column(0).chunk(0), values) if np.isfinite(values).all() else None


def _lines(block: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r").rstrip(b" ") for line in block.removesuffix(b"\n").split(b"\n")]


def _split(number: int, line: bytes, dimension: int) -> tuple[bytes, bytes]:
    """The word of a line and its numbers, which are only counted.

    A word may hold blanks, but a number at its end is one number too many.
    """
    fields = line.rsplit(b" ", dimension)
    if len(fields) <= dimension:
        raise BadRowError(number, f"{len(fields) - 1} numbers where {dimension} were expected" if line else "is empty")
    last = fields[0].rpartition(b" ")[2]
    if b" " in fields[0] and (not last or is_number(last)):
        found = trailing_numbers(line.split(b" "))
        raise BadRowError(number, f"{found} numbers where {dimension} were expected" if last else "two blanks in a row")
    return fields[0], line[len(fields[0]) + 1 :]


def _decode(words: list[bytes]) -> tuple[pa.Array, tuple[int, ...]]:
    texts, broken = [], []
    for number, word in enumerate(words):
        try:
            texts.append(word.decode())
        except UnicodeDecodeError:
            texts.append(word.decode(errors="backslashreplace"))
            broken.append(number)
    return pa.array(texts, pa.string()), tuple(broken)


def _numbers(number: int, fields: list[bytes]) -> list[float]:
    wrong = next((field for field in fields if not is_number(field)), None)
    if wrong is not None:
        raise BadRowError(number, f"not a row of numbers ({_shown(wrong)})")
    with np.errstate(over="ignore"):
        values = np.array(fields, np.float64).astype(np.float32)
    if not np.isfinite(values).all():
        raise BadRowError(number, f"a value is not finite ({_shown(fields[int(np.isfinite(values).argmin())])})")
    return list(values.tolist())


def _shown(field: bytes) -> str:
    text = field.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
