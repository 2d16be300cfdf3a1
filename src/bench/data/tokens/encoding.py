"""A corpus as numbers, kept in the cache: encoded once, memory-mapped by every run that follows.

    CACHE/encoded/<corpus>-<digest>/
        words.arrow              every distinct word, in order of first appearance in train, dev, test
        <split>.tokens           (tokens,) int32, positions in words.arrow, text after text
        <split>.offsets.npy      (texts + 1,) int64, where each text begins
        <split>.labels.npy       (texts,) int64 or float64; (tokens,) int64 where tokens have labels
        <split>.names.arrow      an id per text
        manifest.json            the splits, and the size of each file in bytes

The digest is that of the corpus' content and of what its tokens depend on. Any seed and any vocabulary share the
folder, and a run that finds it never looks at a text. Deleting is safe.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.config import DataConfig
from bench.data.sources import Corpus, Split
from bench.data.tokens.pieces import encode_pieces, pieces_of
from bench.data.tokens.ragged import Ragged
from bench.data.tokens.strings import Strings, write_strings
from bench.data.tokens.text import EncodedTexts, TokenRules
from bench.files import built_once, cache_root

_FORMAT = 2  # of the files; part of the digest
_TOKEN = np.dtype("<i4")


@dataclass(frozen=True)
class EncodedSplit:
    """One split. tokens: ids into the words of the corpus;  labels: (texts,) int64 classes or float64 numbers, or
    (tokens,) int64, the class of each of `tokens.ids`;  names: an id per text."""

    tokens: Ragged
    labels: np.ndarray
    names: Strings


@dataclass(frozen=True)
class EncodedCorpus:
    """A tokenised corpus. words: every distinct word."""

    words: Strings
    splits: Mapping[str, EncodedSplit]


def encode_corpus(corpus: Corpus, data: DataConfig) -> EncodedCorpus:
    """Tokenise every split, or read the result from the cache.

    A damaged cache entry is rebuilt. Many processes may ask at once: one of them builds, the others wait and read.
    Raises: `UserError` if the texts cannot be read, or the cache not be written.
    """
    rules = TokenRules.of(data)
    key = [_FORMAT, corpus.fingerprint, corpus.ids_fingerprint, *astuple(rules), *rules.version]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache_root() / "encoded" / f"{corpus.name}-{digest}"
    return built_once(folder, _read, lambda work: _build(work, corpus, rules))


def _build(folder: Path, corpus: Corpus, rules: TokenRules) -> None:
    pieces = chain.from_iterable(pieces_of(name, split.chunks()) for name, split in corpus.splits.items())
    words = _append_tokens(folder, encode_pieces(pieces, rules))
    write_strings(folder / "words.arrow", words)
    for name, split in corpus.splits.items():
        np.save(folder / f"{name}.labels.npy", _labels(folder, name, split), allow_pickle=False)
        write_strings(folder / f"{name}.names.arrow", split.ids)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    tagged = any(split.tags is not None for split in corpus.splits.values())
    manifest = {"splits": list(corpus.splits), "tagged": tagged, "bytes": sizes}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _labels(folder: Path, name: str, split: Split) -> np.ndarray:
    """The labels as they are stored. Raises: `ValueError` if words that have labels did not become one token each."""
    if split.tags is None:
        return split.labels.astype("<f8" if split.labels.dtype.kind == "f" else "<i8")
    if not np.array_equal(np.load(folder / f"{name}.offsets.npy"), split.tags.offsets):
        raise ValueError(f"{name}: words and their labels do not fit")
    return split.tags.values.astype("<i8")


def _append_tokens(folder: Path, pieces: Iterator[tuple[str, EncodedTexts]]) -> list[str]:
    """Write tokens and offsets of every split. Returns: all words, in order of first appearance however the texts were
    divided."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    for split, encoded in groupby(pieces, key=lambda piece: piece[0]):
        lengths = [np.zeros(1, np.int64)]
        with (folder / f"{split}.tokens").open("wb") as stream:
            for _, piece in encoded:
                ids = np.fromiter(map(index.__getitem__, piece.words), _TOKEN, len(piece.words))
                stream.write(ids[piece.ids].data)
                lengths.append(piece.lengths)
        np.save(folder / f"{split}.offsets.npy", np.cumsum(np.concatenate(lengths), dtype="<i8"), allow_pickle=False)
    return list(index)


def _read(folder: Path) -> EncodedCorpus | None:
    """An encoded corpus, memory-mapped; None if there is none or if it is damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if any((folder / name).stat().st_size != size for name, size in manifest["bytes"].items()):
            return None
        tagged = manifest.get("tagged", False)
        splits = {name: _read_split(folder, name, tagged) for name in manifest["splits"]}
        return EncodedCorpus(Strings.read(folder / "words.arrow"), splits)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return None


def _read_split(folder: Path, name: str, tagged: bool) -> EncodedSplit:
    """Raises: `ValueError` among others, if the files are no split."""
    offsets, labels = (np.load(folder / f"{name}.{part}.npy", allow_pickle=False) for part in ("offsets", "labels"))
    ids = np.asarray(np.memmap(folder / f"{name}.tokens", _TOKEN, mode="r"))
    tokens, names = Ragged.of(ids, offsets), Strings.read(folder / f"{name}.names.arrow")
    if offsets[0] != 0 or offsets[-1] != len(ids) or (tokens.lengths < 1).any():
        raise ValueError(f"{name}: tokens and offsets do not fit")
    if len(tokens) != len(names) or len(labels) != len(ids if tagged else names):
        raise ValueError(f"{name}: {len(tokens)} texts, {len(labels)} labels, {len(names)} names")
    return EncodedSplit(tokens, labels, names)
