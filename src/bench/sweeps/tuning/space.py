"""Where tuning looks: lines such as `training.learning_rate=0.001..0.01 log`, read and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config import BenchConfig, known_keys
from bench.errors import UserError, did_you_mean
from bench.runs.science import is_science

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Drawn = float | int | str

_FORMS = "write KEY=A..B, KEY=A..B log, KEY=A..B int or KEY=A|B|C"
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})((?:\s+(?:log|int))*)")
_LINE = re.compile(r"([A-Za-z_][\w.]*)\s*=\s*(.+)")
_WORD = re.compile(r"[\w.+-]+")
_REFUSED = {
    "seed": "seeds are what recipes are compared on",
    "model.cell": "cells are compared",
    "data.use_test": "trials never read the test split",
    "model.hidden_size": "it is what model.match holds equal",
    "model.match": "it says what is held equal",
}
_NAMES = {"embedding.name": "embedding"}  # a key, and the group whose options differ in it


@dataclass(frozen=True)
class Axis:
    """One key and what it may be: a range (`low` to `high`), or one of several words. log: uniform in the logarithm;
    whole: integers alone."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.words:
            return CategoricalDistribution(self.words)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    @property
    def extremes(self) -> tuple[Drawn, ...]:
        """The values that have to be allowed for all of them to be: both ends, or every word."""
        if self.words:
            return self.words
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def written(self, value: Drawn) -> str:
        """A value as an override: `training.learning_rate=0.0031`."""
        return f"{self.key}={value!r}" if isinstance(value, float) else f"{self.key}={value}"

    def __str__(self) -> str:
        """The line again, always in the same form."""
        if self.words:
            return f"{self.key}={'|'.join(self.words)}"
        low, high = self.extremes
        return f"{self.key}={low}..{high}" + " log" * self.log + " int" * self.whole


def parse_space(lines: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a search space, in the order of their keys.

    Raises: `UserError`, one line, for what cannot be read, empty ranges, unknown keys, keys that occur twice, and keys
    that a recipe cannot choose.
    """
    axes = [_axis(line) for line in lines]
    if not axes:
        raise UserError(f"tuning.space is empty: {_FORMS}, such as 'training.learning_rate=0.001..0.01 log'")
    known = [key for key in known_keys() if is_science(key) and key not in _REFUSED]
    for axis in axes:
        _check_key(axis.key, known)
        if [other.key for other in axes].count(axis.key) > 1:
            raise UserError(f"tuning.space: {axis.key} stands there twice: one line a key")
    return tuple(sorted(axes, key=lambda axis: axis.key))


def check_against_grid(axes: Iterable[Axis], varied: Iterable[str]) -> None:
    """Refuse to search what the grid compares. varied: keys and groups of which the grid has several values."""
    several = set(varied)
    for axis in axes:
        if axis.key in several or _NAMES.get(axis.key) in several:
            raise UserError(f"tuning.space: {axis.key} is what this sweep varies: search it or compare it, not both")


def check_values(axes: Iterable[Axis], config_with: Callable[[str], BenchConfig]) -> None:
    """See that every axis' extremes compose. config_with: an arm's configuration with one more override.

    Raises: `UserError` that names the axis.
    """
    for axis in axes:
        for value in axis.extremes:
            try:
                config_with(axis.written(value))
            except UserError as error:
                advice = " (whole numbers: write int behind the range)" if "valid integer" in str(error) else ""
                raise UserError(f"tuning.space: {error}{advice}") from None


def described(values: Mapping[str, Drawn], axes: Sequence[Axis]) -> tuple[str, ...]:
    """What was drawn, as overrides in the order of the axes."""
    return tuple(axis.written(values[axis.key]) for axis in axes)


def _axis(line: str) -> Axis:
    matched = _LINE.fullmatch(line.strip())
    if matched is None:
        raise UserError(f"tuning.space: cannot read '{line}': {_FORMS}")
    key, values = matched[1], matched[2].strip()
    if ranged := _RANGE.fullmatch(values):
        return _range(key, ranged[1], ranged[2], set(ranged[3].split()), line)
    words = tuple(word.strip() for word in values.split("|"))
    if len(words) < 2 or not all(_WORD.fullmatch(word) for word in words):
        raise UserError(f"tuning.space: cannot read '{line}': {_FORMS}")
    if len(set(words)) < len(words):
        raise UserError(f"tuning.space: '{line}' names a value twice")
    return Axis(key, words=words)


def _range(key: str, low: str, high: str, marks: set[str], line: str) -> Axis:
    axis = Axis(key, float(low), float(high), log="log" in marks, whole="int" in marks)
    if not axis.low < axis.high:
        raise UserError(f"tuning.space: '{line}' is empty: the lower end comes first, as in {key}={high}..{low}")
    if axis.log and axis.low <= 0:
        raise UserError(f"tuning.space: '{line}': a logarithmic range begins above 0")
    if axis.whole and not (axis.low.is_integer() and axis.high.is_integer()):
        raise UserError(f"tuning.space: '{line}': the ends of a range of whole numbers are whole numbers")
    return axis


def _check_key(key: str, known: Sequence[str]) -> None:
    if key in _REFUSED:
        raise UserError(f"tuning.space: {key} cannot be searched: {_REFUSED[key]}")
    if key in known_keys() and key not in known:
        raise UserError(f"tuning.space: {key} cannot be searched: it is no part of a recipe")
    if key not in known:
        raise UserError(f"tuning.space: unknown key '{key}': {did_you_mean(key, known)}")
