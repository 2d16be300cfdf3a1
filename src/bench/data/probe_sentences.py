"""Sentences with a known answer: `negation` and `agreement`.

A writer is given the class and the length of each text, so that neither tells of the other, and draws the rest.
Phrases without a bearing on the answer fill a sentence up to its length; they are drawn without a look at the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

ROLES = ("baker", "doctor", "painter", "pilot")
NEGATION_TOKENS, AGREEMENT_TOKENS = 12, 10  # of the shortest sentence

_SUBJECTS = ("film", "book", "play", "song", "meal", "hotel", "show", "trip")
_NEGATIVE = ("bad", "dull", "awful", "boring", "poor", "weak", "sad", "bland")
_POSITIVE = ("good", "great", "lovely", "brilliant", "fine", "superb", "charming", "fresh")
_ASIDES = (
    "honestly", "certainly", "frankly", "clearly", "of course", "in fact", "after all", "in my view", "for most people",
    "at this time", "as everyone here knows", "from the very beginning", "to those who were there",
)  # fmt: skip

_WOMEN = ("alice", "mary", "emma", "anna", "julia", "laura")
_MEN = ("tom", "john", "peter", "paul", "henry", "george")
_MEETINGS = ("met", "saw", "called", "thanked", "found", "greeted")
_ENDINGS = ("smiled", "left", "laughed", "waved", "slept", "sang")
_CIRCUMSTANCES = (
    "yesterday", "again", "outside", "nearby", "last week", "at noon", "in town", "near the station",
    "on the bridge", "after a walk", "in the old garden", "before the train came", "on a cold and rainy day",
)  # fmt: skip
_LONGEST_PHRASE = 1 + max(phrase.count(" ") for phrase in (*_ASIDES, *_CIRCUMSTANCES))


def write_negation(random: np.random.Generator, labels: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Two clauses, each with a sentiment word, one of them with *not* ahead of it; the last clause is the answer.

    `the film was not of course in fact good but the book was honestly dull`: negative. Sentiment words are drawn
    independently of each other and of the clause that is negated: given the words, both classes are equally likely,
    and so they are given the sentiment of the first clause.

    labels: (texts,) 0 negative, 1 positive;  lengths: (texts,) tokens, at least 12.
    """
    draws = _Draws(random, len(labels), int(lengths.max()))
    texts = []
    for label, length in zip(labels.tolist(), lengths.tolist(), strict=True):
        draw = next(draws)
        negated = draw.below(2)
        shown = (draw.below(2), label if negated == 0 else 1 - label)  # 1 where the word itself is positive
        subjects = draw.two(_SUBJECTS)
        extra = length - NEGATION_TOKENS
        first = draw.below(extra + 1)
        clauses = [
            _clause(draw, subjects[clause], negated == clause, shown[clause], 1 + tokens)
            for clause, tokens in enumerate((first, extra - first))
        ]
        texts.append(" but ".join(clauses))
    return texts


def _clause(draw: _Draw, subject: str, negated: bool, positive: int, aside: int) -> str:
    """One clause, with an aside of so many tokens between the verb and the sentiment word."""
    word = draw.one(_POSITIVE if positive else _NEGATIVE)
    return f"the {subject} was {'not ' * negated}{draw.phrase(_ASIDES, aside)} {word}"


def write_agreement(random: np.random.Generator, labels: np.ndarray, lengths: np.ndarray) -> list[str]:
    """A woman and a man, each with a role, and a pronoun at the end: whose role does it call up?

    `alice the doctor met tom the baker last week and she smiled`: doctor. Who comes first, who has which role and the
    pronoun are drawn independently: the words show two roles, and each of them is equally likely to be the answer.

    labels: (texts,) positions in `ROLES`;  lengths: (texts,) tokens, at least 10.
    """
    draws = _Draws(random, len(labels), int(lengths.max()))
    texts = []
    for label, length in zip(labels.tolist(), lengths.tolist(), strict=True):
        draw = next(draws)
        asked_first, woman_asked, woman_named = draw.below(2) == 1, draw.below(2) == 1, draw.one(_WOMEN)
        others = [role for role in ROLES if role != ROLES[label]]
        asked, other = (woman_named, draw.one(_MEN)) if woman_asked else (draw.one(_MEN), woman_named)
        people = [f"{asked} the {ROLES[label]}", f"{other} the {draw.one(others)}"]
        if not asked_first:
            people.reverse()
        extra = length - AGREEMENT_TOKENS
        first = draw.below(extra + 1)
        places = [draw.phrase(_CIRCUMSTANCES, tokens) for tokens in (first, extra - first)]
        pronoun = "she" if woman_asked else "he"
        parts = [people[0], places[0], draw.one(_MEETINGS), people[1], places[1], "and", pronoun, draw.one(_ENDINGS)]
        texts.append(" ".join(part for part in parts if part))
    return texts


class _Draw:
    """The random numbers of one text, taken one after the other."""

    def __init__(self, uniform: Sequence[float]) -> None:
        self._uniform = iter(uniform)

    def below(self, end: int) -> int:
        """A whole number from 0 to end - 1."""
        return int(next(self._uniform) * end)

    def one(self, words: Sequence[str]) -> str:
        return words[self.below(len(words))]

    def two(self, words: Sequence[str]) -> tuple[str, str]:
        """Two different ones."""
        first = self.below(len(words))
        return words[first], words[(first + 1 + self.below(len(words) - 1)) % len(words)]

    def phrase(self, phrases: tuple[str, ...], tokens: int) -> str:
        """Phrases, one behind the other, of so many tokens together."""
        chosen: list[str] = []
        while tokens > 0:
            chosen.append(self.one(_fitting(phrases, min(tokens, _LONGEST_PHRASE))))
            tokens -= chosen[-1].count(" ") + 1
        return " ".join(chosen)


@cache
def _fitting(phrases: tuple[str, ...], tokens: int) -> tuple[str, ...]:
    """The phrases of at most so many tokens."""
    return tuple(phrase for phrase in phrases if phrase.count(" ") < tokens)


class _Draws(Iterator[_Draw]):
    """The random numbers of some texts; a text takes at most one for each token and a dozen more."""

    def __init__(self, random: np.random.Generator, texts: int, longest: int) -> None:
        self._rows = iter(random.random((texts, longest + 12)).tolist())

    def __next__(self) -> _Draw:
        return _Draw(next(self._rows))
