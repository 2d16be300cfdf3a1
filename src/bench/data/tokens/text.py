"""Texts become tokens: words and punctuation marks in any script, or characters.

This module is all that the worker processes of `bench.data.tokens.pieces` import, so it stays light.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from bench.config import DataConfig

_MARKUP = re.compile(r"<[A-Za-z/!][^<>]*>")
# Vowel signs, accents and variation selectors belong to the character before them. Those of the Basic Multilingual
# Plane: with one from beyond it, Python's expressions try ranges one by one and take twice as long.
_MARKS = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))
_WORD = re.compile(rf"n't\b|'[\w{_MARKS}]+|[\w{_MARKS}]+|[^\w\s][{_MARKS}]*")


@dataclass(frozen=True)
class TokenRules:
    """How a text becomes tokens: the keys `data.tokens`, `data.lowercase`, `data.strip_html`, `data.unicode_form`.

    tokens: blank where words are given, and have labels or are numbers: blanks divide them, and nothing else does.
    """

    tokens: Literal["word", "char", "blank"] = "word"
    lowercase: bool = True
    strip_html: bool = False
    unicode_form: Literal["NFC", "NFKC"] | None = "NFC"

    @classmethod
    def of(cls, data: DataConfig) -> TokenRules:
        """The rules of a configuration."""
        given = data.task == "tagging" or data.inputs == "numbers"
        return cls("blank" if given else data.tokens, data.lowercase, data.strip_html, data.unicode_form)

    @property
    def version(self) -> list[str]:
        """What else tokens depend on: these expressions, and the edition of Unicode that Python knows."""
        return [_WORD.pattern, _MARKUP.pattern, unicodedata.unidata_version]


@dataclass(frozen=True)
class EncodedTexts:
    """Some texts in numbers. words: the distinct ones in order of first appearance;  ids: (tokens,) int32 into `words`;
    lengths: (texts,) int64, tokens per text, at least one."""

    words: list[str]
    ids: np.ndarray
    lengths: np.ndarray


def tokenise(text: str, rules: TokenRules = TokenRules()) -> list[str]:
    """The tokens of a text.

    Words and single punctuation marks, contractions split as in the Penn Treebank and GloVe (`do n't`, `it 's`); or
    characters (code points), blanks included; or words as they are given, each cleaned by itself, none of them lost.
    """
    if rules.tokens == "blank":
        return [_clean(word, rules).strip() for word in text.split()]
    text = _clean(text, rules)
    return list(text) if rules.tokens == "char" else _WORD.findall(text.replace("n't", " n't"))


def encode_texts(texts: Sequence[str], rules: TokenRules) -> EncodedTexts:
    """Tokens of some texts as numbers; a text of nothing but markup becomes one empty word."""
    return _encode_characters(texts, rules) if rules.tokens == "char" else _encode_words(texts, rules)


def _clean(text: str, rules: TokenRules) -> str:
    if rules.unicode_form is not None:
        text = unicodedata.normalize(rules.unicode_form, text)
    if rules.strip_html:
        text = _MARKUP.sub(" ", text)
    return text.lower() if rules.lowercase else text


def _encode_words(texts: Sequence[str], rules: TokenRules) -> EncodedTexts:
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    ids, lengths = [np.empty(0, np.int32)], np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        words = tokenise(text, rules) or [""]
        lengths[row] = len(words)
        ids.append(np.fromiter(map(index.__getitem__, words), np.int32, len(words)))
    return EncodedTexts(list(index), np.concatenate(ids), lengths)


def _encode_characters(texts: Sequence[str], rules: TokenRules) -> EncodedTexts:
    """Without a step per character: code points are numbers already."""
    cleaned = [_clean(text, rules) for text in texts]
    if not all(cleaned):
        return _encode_words(texts, rules)
    codes = np.frombuffer("".join(cleaned).encode("utf-32-le"), "<u4")
    first = np.full(0x110000, len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of equal codes the last assignment stays: the first place
    present = np.flatnonzero(first < len(codes))
    present = present[np.argsort(first[present])]
    first[present] = np.arange(len(present))
    ids = first[codes].astype(np.int32)
    return EncodedTexts(
        [chr(code) for code in present.tolist()], ids, np.array([len(text) for text in cleaned], np.int64)
    )
