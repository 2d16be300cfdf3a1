"""How a fastText model lies in its file: header, dictionary, and where the vectors begin.

Written after fastText's own source, https://github.com/facebookresearch/fastText/tree/1142dc4c4ecb/src:
`FastText::checkModel` and `loadModel` (fasttext.cc), `Args::load` (args.cc), `Dictionary::load` (dictionary.cc),
`DenseMatrix::load` (densematrix.cc). Numbers are little-endian; what stands in brackets, files before version 11 lack:

    [int32 magic, version] · int32 × 12 arguments, float64
    int32 entries, words, labels · int64 tokens [, pruned n-grams]
    per entry: its bytes, a zero, int64 count, int8 type (0 word, 1 label)
    [bool quantised] · int64 rows, columns, float32 values: a row per word, then one per bucket of n-grams
    the output layer, laid out as the vectors are, not used here
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import UserError

HEADER_BYTES = 92

_MAGIC = 793712314
_VERSIONS = (11, 12)
_SIGNED = struct.Struct("<2i 12i d 3i 2q")
_UNSIGNED = struct.Struct("<12i d 3i q")
_SHAPE = struct.Struct("<2q")
_SUPERVISED = 3  # model_name::sup in args.h
_BLOCK_WORDS = 1 << 17


@dataclass(frozen=True)
class Header:
    """version: 0 in files before version 11;  entries, words: of the dictionary;  buckets: rows of n-grams;
    shortest, longest: characters of an n-gram;  pruned: n-grams that were left out, -1 for a whole model."""

    version: int
    dimension: int
    entries: int
    words: int
    buckets: int
    shortest: int
    longest: int
    pruned: int

    @property
    def end(self) -> int:
        """The byte at which the dictionary begins."""
        return _SIGNED.size if self.version else _UNSIGNED.size

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix of vectors."""
        return self.words + self.buckets, self.dimension

    @property
    def has_ngrams(self) -> bool:
        """Whether words have vectors of their n-grams."""
        return self.buckets > 0 and self.longest >= max(self.shortest, 1)


def read_header(content: bytes, name: str) -> Header:
    """What the first `HEADER_BYTES` of a file say.

    Raises: `UserError` in one line if it is no fastText model, or not of a version that can be read.
    """
    signed = content.startswith(struct.pack("<i", _MAGIC))
    layout = _SIGNED if signed else _UNSIGNED
    if len(content) < layout.size:
        raise UserError(f"{name}: ends within its first {layout.size} bytes; is the download complete?")
    numbers = layout.unpack_from(content)
    version = numbers[1] if signed else 0
    if signed and version not in _VERSIONS:
        raise UserError(f"{name}: a fastText model of version {version}, where 11 and 12 can be read")
    dimension, window, epochs, _, _, _, loss, model, buckets, shortest, longest, _ = numbers[2 * signed :][:12]
    entries, words, labels = numbers[2 * signed :][13:16]
    sound = 0 < dimension < 1 << 20 and words > 0 <= labels and entries == words + labels
    sound = sound and buckets >= 0 <= shortest and window >= 0 <= epochs and 0 < model < 4 and 0 < loss < 5
    if not sound:
        raise UserError(f"{name}: not a fastText model, or damaged: the numbers at its beginning do not fit together")
    if version < 12 and model == _SUPERVISED:  # as in FastText::loadModel: such models had no character n-grams
        longest = 0
    return Header(version, dimension, entries, words, buckets, shortest, longest, numbers[-1] if signed else -1)


def is_model(head: bytes) -> bool:
    """Whether a file that begins so is a fastText model that can be read, also one from before files were signed."""
    try:
        read_header(head, "")
    except UserError:
        return False
    return True


class Dictionary:
    """The dictionary of a model, read once from front to back. end: the byte after it, once all words were read."""

    def __init__(self, content: mmap.mmap, header: Header, name: str) -> None:
        self.end = header.end
        self._content = content
        self._header = header
        self._name = name

    def words(self) -> Iterator[list[bytes]]:
        """The words, some thousands at a time; then labels are passed by.

        Raises: `UserError` if the file ends early, or if words and labels are not as many as the header says.
        """
        for start in range(0, self._header.words, _BLOCK_WORDS):
            yield self._read(min(self._header.words - start, _BLOCK_WORDS), label=False)
        self._read(self._header.entries - self._header.words, label=True)

    def _read(self, entries: int, *, label: bool) -> list[bytes]:
        words = []
        position, content = self.end, self._content
        for _ in range(entries):
            stop = content.find(b"\0", position)
            if stop < 0 or stop + 10 > len(content):
                raise UserError(
                    f"{self._name}: ends within its dictionary of {self._header.entries} entries "
                    f"(byte {position}); is the download complete?"
                )
            if content[stop + 9] != label:
                kind = "label" if label else "word"
                raise UserError(f"{self._name}: no {kind} where one is due (byte {position}); is the file damaged?")
            words.append(content[position:stop])
            position = stop + 10
        self.end = position
        return words


def matrix_begin(content: mmap.mmap, position: int, header: Header, name: str) -> int:
    """The byte at which the values of the vectors begin; `position`: the byte after the dictionary.

    Raises: `UserError` if the model is quantised, or if sizes differ from the header's or the file's.
    """
    position += 8 * max(header.pruned, 0)
    if header.version:
        if position >= len(content):
            raise UserError(f"{name}: ends before its vectors (byte {len(content)}); is the download complete?")
        if content[position] or header.pruned >= 0:
            raise quantised(name)
        position += 1
    rows, columns = header.shape
    begin = position + _SHAPE.size
    if begin > len(content) or _SHAPE.unpack_from(content, position) != (rows, columns):
        raise UserError(f"{name}: no matrix of {rows} × {columns} at byte {position}; is the file damaged?")
    output = begin + 4 * rows * columns + (1 if header.version else 0)
    end = output + _SHAPE.size
    if end <= len(content):
        rows, columns = _SHAPE.unpack_from(content, output)
        end += 4 * rows * columns
    if end != len(content):
        problem = "is the download complete?" if end > len(content) else "is the file damaged?"
        raise UserError(f"{name}: {len(content)} bytes long, where its own sizes make {end}; {problem}")
    return begin


def quantised(name: str) -> UserError:
    """What to say of a model that keeps approximations of its vectors."""
    return UserError(f"{name}: a quantised fastText model (.ftz), which keeps no exact vectors; choose its .bin file")
