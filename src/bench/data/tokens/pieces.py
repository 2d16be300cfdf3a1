"""A corpus is encoded piece by piece, in worker processes where it is large: never all of it in memory.

An expression in worker processes is the fastest of what was measured: see `benchmarks/encoding.py`.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import chain

from bench.data.tokens.text import EncodedTexts, TokenRules, encode_texts
from bench.errors import UserError
from bench.processor import usable_cores

PIECE_CHARACTERS = 4_000_000
PARALLEL_CHARACTERS = 12_000_000  # below this, starting processes costs more than they save

Piece = tuple[str, Sequence[str]]  # the name of a split, and some of its texts
_Waiting = tuple[str, Future[EncodedTexts]]


def pieces_of(split: str, chunks: Iterable[Sequence[str]]) -> Iterator[Piece]:
    """The same texts in pieces of bounded size, at least one text each."""
    piece: list[str] = []
    characters = 0
    for text in chain.from_iterable(chunks):
        piece.append(text)
        characters += len(text)
        if characters >= PIECE_CHARACTERS:
            yield split, piece
            piece, characters = [], 0
    if piece:
        yield split, piece


def encode_pieces(pieces: Iterator[Piece], rules: TokenRules) -> Iterator[tuple[str, EncodedTexts]]:
    """The pieces encoded, in their order, each with the name of its split."""
    begin: list[Piece] = []
    characters = 0
    while characters < PARALLEL_CHARACTERS and (piece := next(pieces, None)) is not None:
        begin.append(piece)
        characters += sum(map(len, piece[1]))
    workers = usable_cores()
    if characters < PARALLEL_CHARACTERS or workers == 1 or multiprocessing.current_process().daemon:
        return ((split, encode_texts(texts, rules)) for split, texts in chain(begin, pieces))
    return _in_processes(chain(begin, pieces), rules, workers)


def _in_processes(pieces: Iterator[Piece], rules: TokenRules, workers: int) -> Iterator[tuple[str, EncodedTexts]]:
    """No more pieces are under way than keep the workers busy. Nothing of this process is copied into them, so they
    are safe to start beside torch's threads.

    Raises: `UserError` if a worker is killed.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    waiting: deque[_Waiting] = deque()
    try:
        with ProcessPoolExecutor(workers) as pool:
            for split, texts in pieces:
                waiting.append((split, pool.submit(encode_texts, texts, rules)))
                yield from _results(waiting, leave=2 * workers)
            yield from _results(waiting, leave=0)
    except BrokenProcessPool:
        raise UserError(
            "a process that encodes texts was ended from outside, perhaps for want of memory: type the command again"
        ) from None


def _results(waiting: deque[_Waiting], leave: int) -> Iterator[tuple[str, EncodedTexts]]:
    """Wait for the oldest pieces until no more than `leave` are under way."""
    while len(waiting) > leave:
        split, future = waiting.popleft()
        yield split, future.result()
