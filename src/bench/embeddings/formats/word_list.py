"""The words of a binary vector file, kept in the cache with the bytes at which their vectors begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.embeddings.formats.store import RepeatedWordError, read_words, write_words
from bench.errors import UserError, notice
from bench.files import cache_root, is_utf8

_BEGINS = "begins.npy"
_MOST_BROKEN = 0.01


def keep_words(
    folder: Path,
    blocks: Iterable[Sequence[str] | pa.Array],
    begins: Callable[[], np.ndarray] | None = None,
    *,
    name: str,
    unit: str,
) -> None:
    """Fill an empty folder with the words of a file.

    blocks: the words, some thousands at a time;  begins: asked after the last of them, the byte at which the vector of
    each begins, int64, or that of the first where all are of one length;  name: the file's;  unit: what errors call a
    word's place in it.
    Raises: `UserError` if a word comes twice.
    """
    try:
        write_words(folder, blocks)
        if begins is not None:
            np.save(folder / _BEGINS, begins(), allow_pickle=False)
    except RepeatedWordError as error:
        raise UserError(
            f"{name}: {error.word!r} stands in {unit} {error.first + 1} and again in {unit} {error.second + 1}; "
            "which of the two counts? Remove the other"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write to {cache_root()}: {error.strerror}; choose another: BENCH_CACHE=DIR") from None


def kept_words(folder: Path, rows: int) -> pa.ChunkedArray | None:
    """The words of a file of so many rows; None if absent or damaged."""
    words = read_words(folder)
    return words if words is not None and len(words) == rows else None


def kept_begins(folder: Path) -> np.ndarray | None:
    """The bytes at which vectors begin, int64; None if absent or damaged."""
    try:
        begins = np.load(folder / _BEGINS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return begins if begins.ndim == 1 and len(begins) else None


def decoded(blocks: Iterable[Sequence[bytes]], *, name: str, unit: str) -> Iterator[list[str]]:
    """The words as text, block by block.

    A few words may be broken: word2vec.c cuts them at 100 bytes, be it in the middle of a character, and fastText's
    wiki-news-300d-1M-subword.bin has such words too (https://github.com/piskvorky/gensim/issues/2378). Their odd bytes
    become `\\xNN`, as gensim has it, so that no text is looked up by them.

    Raises: `UserError` after the last block, if more than one word in a hundred is not UTF-8.
    """
    total = broken = first = 0
    for words in blocks:
        try:
            yield [word.decode() for word in words]
        except UnicodeDecodeError:
            odd = [place for place, word in enumerate(words, start=total + 1) if not is_utf8(word)]
            first = first or odd[0]
            broken += len(odd)
            yield [word.decode(errors="backslashreplace") for word in words]
        total += len(words)
    if broken:
        judge_broken(f"{name}, {unit} {first}", broken, total)


def judge_broken(place: str, broken: int, total: int) -> None:
    """Tell of words that are not UTF-8. place: of the first one;  broken, total: how many of how many.

    Raises: `UserError` if more than one word in a hundred is not.
    """
    told = f"{place}: the word is not UTF-8, nor are {broken - 1:,} more of {total:,}"
    if broken > _MOST_BROKEN * total:
        raise UserError(f"{told}; convert the file to UTF-8, or is it damaged?")
    notice(f"{told}; no text can hold them, the others are used")
