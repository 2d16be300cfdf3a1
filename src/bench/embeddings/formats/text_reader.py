"""One pass over a text file of word vectors: its header, its rows block by block, and what is wrong with it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from bench.embeddings.formats.archives import opened
from bench.embeddings.formats.store import Rows
from bench.embeddings.formats.text_rows import BadRowError, TextRows, read_rows
from bench.embeddings.formats.unpacked import name_of
from bench.embeddings.formats.word_list import judge_broken
from bench.embeddings.progress import Show, shown
from bench.embeddings.vectors import VectorFile
from bench.errors import UserError, notice

LONGEST_LINE = 16 << 20  # bytes
_BLOCK_BYTES = 2 << 20  # large enough for pyarrow's start to cost nothing, small enough for the processor's cache
_WORKERS = 2
_SHOWN_FROM = 200_000_000  # bytes; smaller files are read in a few seconds
_HEADER = re.compile(rb"(\d{1,12}) (\d{1,6})[ \r]*\n?")


def header_of(line: bytes) -> tuple[int, int] | None:
    """The numbers of rows and dimensions that a first line states, as word2vec's formats do and GloVe's does not."""
    counts = _HEADER.fullmatch(line)
    return (int(counts[1]), int(counts[2])) if counts else None


class TextReader:
    """Reads a file from its first line to its last, and keeps count."""

    def __init__(self, file: VectorFile) -> None:
        self.name = name_of(file.path, file.member)
        self._file = file
        self._header_lines = 0
        self._promised: int | None = None
        self._rows = 0
        self._broken = 0
        self._first_broken = 0
        self._last_line_ended = True

    def line_of(self, row: int) -> int:
        """The line, counted from 1, that holds a row, counted from 0."""
        return self._header_lines + row + 1

    def rows(self) -> Iterator[Rows]:
        """Words and values in the file's order, while two threads parse the blocks that follow.

        Raises: `UserError` that names file, line and reason for the first bad row.
        """
        waiting: deque[Future[TextRows]] = deque()
        with opened(self._file.path, self._file.member) as stream, ThreadPoolExecutor(_WORKERS) as pool:
            try:
                for block in self._blocks(stream):
                    waiting.append(pool.submit(read_rows, block, self._file.dimension))
                    if len(waiting) > _WORKERS:
                        yield self._counted(waiting.popleft())
                while waiting:
                    yield self._counted(waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def look_back(self) -> None:
        """What can be said of the file only once all of it was read: it is refused, or used with a warning."""
        if self._broken:
            judge_broken(f"{self.name}, line {self.line_of(self._first_broken)}", self._broken, self._rows)
        if self._promised not in (None, self._rows):
            told = f"the header promises {self._promised:,} rows, the file holds {self._rows:,}"
            if not self._last_line_ended:
                raise UserError(f"{self.name}: {told}, and its last line has no end; is the download complete?")
            notice(f"{self.name}, line 1: {told}; these are used")

    def _counted(self, block: Future[TextRows]) -> Rows:
        try:
            read = block.result()
        except BadRowError as error:
            line = self.line_of(self._rows + error.line)
            raise UserError(f"{self.name}, line {line}: {error.reason}; is the file damaged?") from None
        if read.broken and not self._broken:
            self._first_broken = self._rows + read.broken[0]
        self._broken += len(read.broken)
        self._rows += len(read.words)
        return read.words, read.values

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        """Whole lines, some megabytes at a time, each ended by a line feed; a header is left out."""
        rest = stream.readline(LONGEST_LINE)
        header = header_of(rest)
        if header is not None:
            self._header_lines, self._promised, rest = 1, header[0], b""
        with self._shown() as show:
            here = 0
            while part := stream.read(_BLOCK_BYTES):
                here += len(part)
                show(here, None)
                whole, rest = _split_at_line(rest + part)
                if whole:
                    yield whole
                elif len(rest) > LONGEST_LINE:
                    raise UserError(f"{self.name}: a line of more than {LONGEST_LINE >> 20} MB; is the file damaged?")
        if rest:
            self._last_line_ended = rest.endswith(b"\n")
            yield rest if self._last_line_ended else rest + b"\n"

    def _shown(self) -> AbstractContextManager[Show]:
        """A large file takes a while, once: say so."""
        if self._file.path.stat().st_size >= _SHOWN_FROM:
            return shown(f"reading {self.name}")
        return nullcontext(lambda here, total: None)


def _split_at_line(text: bytes) -> tuple[bytes, bytes]:
    end = text.rfind(b"\n") + 1
    return text[:end], text[end:]
