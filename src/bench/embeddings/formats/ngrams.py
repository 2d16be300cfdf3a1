"""Character n-grams as fastText makes them of words, hashed into buckets, and the means of their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_SIGN_EXTENDED = np.arange(256, dtype=np.uint8).astype(np.int8).astype(np.int32).view(np.uint32)


def ngram_buckets(words: Sequence[bytes], shortest: int, longest: int, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """The bucket of every n-gram of `<word>`, word after word, from left to right, short ones first.

    words: UTF-8;  shortest, longest: characters of an n-gram;  buckets: how many there are.
    `Dictionary::computeSubwords` and `Dictionary::hash` in fastText's dictionary.cc: FNV-1a over bytes that count as
    signed (int8_t), which plain FNV-1a has not; a lone `<` or `>` is no n-gram.
    Returns: (n-grams,) int64 buckets;  (words,) int64, how many of them each word has.
    """
    if not words:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    marked = [b"<" + word + b">" for word in words]
    content = np.frombuffer(b"".join(marked), np.uint8)
    starts = np.flatnonzero((content & 0xC0) != 0x80)  # a character's first byte; the others are 10xxxxxx
    lengths = np.diff(starts, append=len(content))
    word_ends = np.searchsorted(starts, np.cumsum([len(word) for word in marked]))
    word_begins = np.concatenate([[0], word_ends[:-1]])
    first = np.repeat(word_begins, word_ends - word_begins)
    last = np.repeat(word_ends, word_ends - word_begins) - 1

    characters = np.arange(len(starts))
    codes = np.full(len(starts), _BASIS)
    hashed = np.zeros((len(starts), longest), np.int64)
    kept = np.zeros((len(starts), longest), bool)
    for added in range(longest):
        at = np.minimum(characters + added, len(starts) - 1)
        within = characters + added <= last
        for byte in range(int(lengths.max())):
            more = within & (byte < lengths[at])
            value = _SIGN_EXTENDED[content[(starts[at] + byte)[more]]]
            codes[more] = (codes[more] ^ value) * _PRIME
        hashed[:, added] = codes % np.uint32(buckets)
        kept[:, added] = within & (added + 1 >= shortest)
    if longest:
        kept[:, 0] &= (characters != first) & (characters != last)
    return hashed[kept], np.add.reduceat(kept.sum(axis=1), word_begins)


def mean_rows(matrix: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(words, dimension) float32: the mean of some rows of a matrix for each word, zero for a word without any.

    `FastText::getWordVector` in fastText's fasttext.cc. rows: those of the first word, then of the next;
    counts: (words,) how many each has.
    """
    sums = np.zeros((len(counts), matrix.shape[1]), np.float32)
    begins = np.cumsum(counts) - counts
    for place in range(counts.max(initial=0)):
        some = np.flatnonzero(counts > place)
        sums[some] += matrix[rows[begins[some] + place]]
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32)
