"""Generated corpora with a known answer: what a cell must be able to do, apart from what a corpus happens to need.

A text is a function of (probe, split, shortest and longest length, `data.probe_seed`, its position) alone: the first
texts of a larger corpus are those of a smaller one. Classes alternate in random order, so that any number of texts is
balanced, and the length of a text is drawn without a look at its class.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.config import DataConfig
from bench.data.probe_sentences import AGREEMENT_TOKENS, NEGATION_TOKENS, ROLES, write_agreement, write_negation
from bench.data.probe_sequences import ADDING_PARTS, ADDING_TOKENS, COPY_SYMBOLS, COPY_TOKENS, write_adding, write_copy
from bench.data.probe_strings import write_anbn, write_parity
from bench.data.splits import Tags
from bench.errors import UserError, did_you_mean

Writer = Callable[[np.random.Generator, np.ndarray, np.ndarray], list[str]]
Answers = np.ndarray | Tags  # (texts,) int64 classes or float64 numbers, or classes of words
SequenceWriter = Callable[[np.random.Generator, int, int], tuple[list[str], Answers]]

_CHUNK = 2_000  # texts, drawn together from a stream of their own
_DRAWS = 64  # of a text, until it falls to its split
_SHARES = ("train", "train", "dev", "test")  # which split a text may stand in, by the last two bits of its hash
_DIVISORS = {"train": 1, "dev": 10, "test": 5}  # of data.size


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known beforehand of a probe. Accuracies are fractions of 1.

    chance: of the best answer that does not look at the text;
    bag_of_words: what logistic regression over word counts reaches at most, but for the luck of a sample.
    """

    chance: float
    bag_of_words: float
    note: str


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A probe. shortest: tokens;  step: between possible lengths;  apart: whether a text is kept to one split."""

    write: Writer
    classes: tuple[str, ...]
    shortest: int
    bag_of_words: float
    note: str
    step: Literal[1, 2] = 1
    apart: bool = True

    @property
    def chance(self) -> float:
        return 1 / len(self.classes)


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """A probe whose texts are all as long as asked for; so many are there that splits share none."""

    write: SequenceWriter
    classes: tuple[str, ...]
    shortest: int
    chance: float
    bag_of_words: float
    note: str
    step: Literal[1] = 1


def _within(thousandths: int) -> float:
    """Share of sums of two values in 0, 0.001, …, 1 that are less than so many thousandths away from 1."""
    values = ADDING_PARTS + 1
    return sum(values - abs(off) for off in range(1 - thousandths, thousandths)) / values**2


_KINDS: Mapping[str, _Kind | _Sequence] = {
    "parity": _Kind(
        write=write_parity,
        classes=("even", "odd"),
        shortest=2,
        bag_of_words=0.5,
        note="the order of the words plays no part: the answer is in the number of ones, but no linear one",
    ),
    "anbn": _Kind(
        write=write_anbn,
        classes=("other", "anbn"),
        shortest=4,
        step=2,
        bag_of_words=0.625,
        note="linear in the counts sees one side of those miscounted: 62.5%; any use of the counts alone: 75%",
        apart=False,
    ),
    "negation": _Kind(
        write=write_negation,
        classes=("negative", "positive"),
        shortest=NEGATION_TOKENS,
        bag_of_words=0.5,
        note="the same words occur with either answer equally often",
    ),
    "agreement": _Kind(
        write=write_agreement,
        classes=ROLES,
        shortest=AGREEMENT_TOKENS,
        bag_of_words=0.5,
        note="the words show two of the four roles, and each is the answer equally often",
    ),
    "adding": _Sequence(
        write=write_adding,
        classes=(),
        shortest=ADDING_TOKENS,
        chance=_within(40),
        bag_of_words=1.0,
        note="shares with an error below 0.04: the answer 1.0, and a weight for each of 2,002 words; "
        "linear in the means of the two numbers is no better than chance",
    ),
    "copy": _Sequence(
        write=write_copy,
        classes=COPY_SYMBOLS,
        shortest=COPY_TOKENS,
        chance=1 / len(COPY_SYMBOLS),
        bag_of_words=1 / len(COPY_SYMBOLS),
        note="shares of the recalled symbols: the blank that asks for a symbol says nothing of it",
    ),
}


def generate(data: DataConfig, split: str) -> Iterator[tuple[list[str], Answers]]:
    """The texts of one split, some thousand at a time, and their answers: (texts,) int64 classes or float64 numbers,
    or `Tags`.

    Tokens are separated by one blank. No text stands in two splits, where there are enough: of short `parity` strings
    there are not, and of a^n b^n there is one for each length.

    Raises: `UserError` at once, if the lengths do not suit the probe.
    """
    kind, lengths, size = _kind(data), _lengths(data, split), split_size(data, split)

    def chunks() -> Iterator[tuple[list[str], Answers]]:
        for start in range(0, size, _CHUNK):
            texts, answers = _draw_chunk(kind, data, split, lengths, start // _CHUNK)
            yield texts[: size - start], _first(answers, min(size - start, _CHUNK))

    return chunks()


def class_names(data: DataConfig) -> tuple[str, ...]:
    """The classes in the order of their numbers; none where the answer is a number.

    Raises: `UserError` if the lengths do not suit the probe.
    """
    for split in _DIVISORS:
        _lengths(data, split)
    return _kind(data).classes


def expected(data: DataConfig) -> Expected:
    """The accuracy of chance and of a bag of words."""
    kind = _kind(data)
    return Expected(chance=kind.chance, bag_of_words=kind.bag_of_words, note=kind.note)


def split_size(data: DataConfig, split: str) -> int:
    """Texts of a split: `data.size` train, a tenth as many validate, a fifth test; at least two of each class."""
    assert data.size is not None
    return max(data.size // _DIVISORS[split], 2 * len(_kind(data).classes), 2)


def _kind(data: DataConfig) -> _Kind | _Sequence:
    kind = _KINDS.get(str(data.probe))
    if kind is None:
        raise UserError(f"data.probe={data.probe} is no generated corpus: {did_you_mean(str(data.probe), _KINDS)}")
    return kind


def _lengths(data: DataConfig, split: str) -> range:
    """Tokens that the texts of a split may have; a `data.test_length` beyond `data.length` begins where that ends."""
    kind, length = _kind(data), data.length
    assert length is not None
    key, longest, shortest = "length", length, kind.shortest
    if split == "test" and data.test_length is not None:
        key, longest = "test_length", data.test_length
        if longest > length:
            shortest = max(length - length % kind.step + kind.step, shortest)
    if longest < kind.shortest:
        raise UserError(
            f"data.{key}={longest}: {data.probe} needs at least {kind.shortest} tokens: type data.{key}={kind.shortest}"
        )
    if longest < shortest:
        raise UserError(
            f"data.{key}={longest}: {data.probe} has no text longer than data.length={length} and that short: "
            f"type data.{key}={shortest}"
        )
    limit, most = "max_length", data.max_length
    if split == "test" and data.test_max_length is not None:
        limit, most = "test_max_length", data.test_max_length
    if data.tokens == "word" and longest > most:
        raise UserError(
            f"data.{limit}={most} cuts texts of data.{key}={longest}, and their answers with them: "
            f"type data.{limit}={longest}"
        )
    return range(longest if isinstance(kind, _Sequence) else shortest, longest + 1, kind.step)


def _first(answers: Answers, count: int) -> Answers:
    return answers.subset(np.arange(count)) if isinstance(answers, Tags) else answers[:count]


def _draw_chunk(
    kind: _Kind | _Sequence, data: DataConfig, split: str, lengths: range, number: int
) -> tuple[list[str], Answers]:
    """The texts of one chunk and their answers."""
    name = f"{data.probe} {split} {lengths.start} {lengths.stop}"
    seed = np.random.SeedSequence(entropy=data.probe_seed, spawn_key=(zlib.crc32(name.encode()), number))
    random = np.random.default_rng(seed)
    if isinstance(kind, _Sequence):
        return kind.write(random, _CHUNK, lengths[-1])
    classes = len(kind.classes)
    labels = random.permuted(np.tile(np.arange(classes), (_CHUNK // classes, 1)), axis=1).ravel()
    tokens = lengths.start + lengths.step * random.integers(0, len(lengths), _CHUNK)
    texts = kind.write(random, labels, tokens)
    astray = _astray(range(_CHUNK), texts, split) if kind.apart else []
    for _ in range(_DRAWS):
        if not astray:
            break
        drawn = kind.write(random, labels[astray], tokens[astray])
        for row, text in zip(astray, drawn, strict=True):
            texts[row] = text
        astray = _astray(astray, texts, split)
    return texts, labels


def _astray(rows: Sequence[int], texts: Sequence[str], split: str) -> list[int]:
    """Those rows whose texts belong to another split.

    The hash is a cryptographic one: the bits of CRC-32 are themselves parities of the text's bits, and a split chosen
    by them would teach another parity than the one that is tested.
    """
    return [row for row in rows if _SHARES[hashlib.blake2b(texts[row].encode()).digest()[-1] % 4] != split]
