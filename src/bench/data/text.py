"""Texts become tokens, tokens a vocabulary, and every split one flat array of word ids.

A corpus is encoded once, over all its distinct words, into flat arrays that any seed and any vocabulary size can share
(`encode_corpus`, cached on disk). Choosing a vocabulary from the training part is then a table look-up over the flat
array (`Vocabulary.of`, `Vocabulary.apply`): no loop over texts, none over tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.config import DataConfig
from bench.data.sources import Corpus
from bench.files import cache_root, folder_atomically

PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = 2

_FORMAT = 1  # of the cache; part of its key
_MARKUP = re.compile(r"<[A-Za-z/!][^<>]*>")
_WORD = re.compile(r"n't\b|'\w+|\w+|[^\w\s]")
_PARALLEL_CHARACTERS = 4_000_000  # below this, starting processes costs more than they save


@dataclass(frozen=True)
class Ragged:
    """Many sequences in one array. ids: (tokens,) int32;  offsets: (texts + 1,) int64, where each text begins."""

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64: tokens per text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class EncodedCorpus:
    """A tokenised corpus. words: every distinct word;  splits: ids into `words`."""

    words: list[str]
    splits: Mapping[str, Ragged]


def tokenise(text: str, lowercase: bool = True, strip_html: bool = False) -> list[str]:
    """Words and single punctuation marks, contractions split as in the Penn Treebank and GloVe (`do n't`, `it 's`)."""
    if strip_html:
        text = _MARKUP.sub(" ", text)
    if lowercase:
        text = text.lower()
    return _WORD.findall(text.replace("n't", " n't"))


def encode_corpus(corpus: Corpus, data: DataConfig) -> EncodedCorpus:
    """Tokenise every split, or read the result from the cache, which is keyed by content and settings.

    A damaged cache entry is rebuilt. Many processes may ask at once: each writes a folder of its own and the first one
    to finish stays.
    """
    settings = [_FORMAT, corpus.fingerprint, data.lowercase, data.strip_html, _WORD.pattern, _MARKUP.pattern]
    folder = (
        cache_root() / "encoded" / f"{corpus.name}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]}"
    )
    cached = _read(folder, list(corpus.splits))
    if cached is not None:
        return cached
    encoded = _encode({name: split.texts for name, split in corpus.splits.items()}, data.lowercase, data.strip_html)
    shutil.rmtree(folder, ignore_errors=True)
    with folder_atomically(folder) as work:
        _write(work, encoded)
    return encoded


def _encode(splits: Mapping[str, Sequence[str]], lowercase: bool, strip_html: bool) -> EncodedCorpus:
    texts = [text for split in splits.values() for text in split]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cores == 1 or sum(map(len, texts)) < _PARALLEL_CHARACTERS:
        chunks = [_encode_chunk(texts, lowercase, strip_html)]
    else:
        from joblib import Parallel, delayed

        step = -(-len(texts) // (4 * cores))
        chunks = Parallel(n_jobs=cores)(
            delayed(_encode_chunk)(texts[start : start + step], lowercase, strip_html)
            for start in range(0, len(texts), step)
        )
    words, ids, lengths = _merge(chunks)
    encoded, first_text, first_token = {}, 0, 0
    for name, split in splits.items():
        offsets = np.concatenate([[0], np.cumsum(lengths[first_text : first_text + len(split)])]).astype(np.int64)
        encoded[name] = Ragged(ids[first_token : first_token + offsets[-1]], offsets)
        first_text, first_token = first_text + len(split), first_token + int(offsets[-1])
    return EncodedCorpus(words, encoded)


def _encode_chunk(texts: Sequence[str], lowercase: bool, strip_html: bool) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Words in order of first appearance, ids into them, and tokens per text, of some texts."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    pieces, lengths = [], np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        words = tokenise(text, lowercase, strip_html) or [""]  # a text of nothing but markup: one unknown word
        lengths[row] = len(words)
        pieces.append(np.fromiter(map(index.__getitem__, words), np.int32, len(words)))
    return list(index), np.concatenate(pieces) if pieces else np.empty(0, np.int32), lengths


def _merge(chunks: Sequence[tuple[list[str], np.ndarray, np.ndarray]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """One vocabulary for all chunks, in order of first appearance however the texts were divided."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    remapped = [np.fromiter(map(index.__getitem__, words), np.int32, len(words))[ids] for words, ids, _ in chunks]
    return list(index), np.concatenate(remapped), np.concatenate([lengths for _, _, lengths in chunks])


def _write(folder: Path, encoded: EncodedCorpus) -> None:
    (folder / "words.json").write_text(json.dumps(encoded.words), encoding="utf-8")
    for name, ragged in encoded.splits.items():
        np.save(folder / f"{name}.ids.npy", ragged.ids, allow_pickle=False)
        np.save(folder / f"{name}.offsets.npy", ragged.offsets, allow_pickle=False)


def _read(folder: Path, splits: Sequence[str]) -> EncodedCorpus | None:
    """A cached encoding, memory-mapped; None if there is none or if it is damaged."""
    try:
        words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
        ragged = {}
        for name in splits:
            ids = np.load(folder / f"{name}.ids.npy", mmap_mode="r", allow_pickle=False)
            offsets = np.load(folder / f"{name}.offsets.npy", allow_pickle=False)
            if offsets[-1] != len(ids):
                return None
            ragged[name] = Ragged(ids, offsets)
    except (OSError, ValueError, IndexError):
        return None
    return EncodedCorpus(words, ragged)


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a vector of their own, most frequent first, and how corpus ids map to vector rows.

    words[k] has row k + SPECIAL_WORDS; row 0 is padding, row 1 every other word.
    table: (distinct words of the corpus,) int32;  counts: (len(words),) int64, in the training part.
    """

    words: list[str]
    counts: np.ndarray
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.words) + SPECIAL_WORDS

    @classmethod
    def of(cls, words: Sequence[str], training_ids: np.ndarray, size: int, minimum_count: int) -> Vocabulary:
        """The `size` most frequent words of the training part, ties in order of first appearance.

        words: all of the corpus;  training_ids: (tokens,) ids into `words`;  size: vector rows, special ones included.
        """
        counts = np.bincount(training_ids, minlength=len(words))
        order = np.argsort(-counts, kind="stable")[: size - SPECIAL_WORDS]
        kept = order[counts[order] >= max(minimum_count, 1)]
        kept = kept[[words[k] != "" for k in kept.tolist()]] if len(kept) else kept
        table = np.full(len(words), UNKNOWN, np.int32)
        table[kept] = np.arange(len(kept), dtype=np.int32) + SPECIAL_WORDS
        return cls([words[k] for k in kept.tolist()], counts[kept], table)

    def apply(self, ragged: Ragged) -> Ragged:
        """The same texts with vector rows in place of corpus ids."""
        return Ragged(self.table[ragged.ids], ragged.offsets)
