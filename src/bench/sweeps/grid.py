"""From a grid to its combinations, and the name of a question that was typed rather than kept in a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.options import SHARED_OPTION

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

# How a sweep is carried out and judged is no part of the question: a dry run has the name of the real one.
_NOT_THE_QUESTION = (
    "dry_run=", "force=", "retry=", "results=", "keep=", "until=", "protocol=", "protocol.", "tuning.storage=", "hydra",
)  # fmt: skip

_SEED = re.compile(r"\+{0,2}seed=(\d{1,18})")
_EQUAL_TIME = re.compile(r"\+{0,2}model\.match=time")


@dataclass(frozen=True)
class Choice:
    """One combination. overrides: all of them;  swept: those that tell it from the others, such as `seed=2`."""

    overrides: tuple[str, ...]
    swept: tuple[str, ...]

    @property
    def label(self) -> str:
        """A name for people."""
        return " ".join(self.swept) or "the only run"

    @property
    def cell(self) -> str:
        """The label without the seed: choices of one cell differ in their seed alone."""
        return " ".join(part for part in self.swept if not part.startswith("seed=")) or "all"


def expand(
    arguments: Sequence[str], params: Mapping[str, object], loader: ConfigLoader, exclude: Sequence[str] = ()
) -> list[Choice]:
    """Every combination of the values that were typed or stand in a sweep file, the last key varying fastest.

    exclude: combinations to leave out, such as `recipe=last_state model.match=time`.
    Raises: `UserError` for an interval, which has no end of values, and for an exclusion that names no values; Hydra's
    errors for what it cannot read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    grid = [f"{key}={'null' if value is None else value}" for key, value in params.items()]
    axes: dict[str, tuple[list[str], bool]] = {}
    spelled: dict[str, str] = {}
    parser = OverridesParser.create(config_loader=loader)
    for override in parser.parse_overrides([*grid, *arguments]):
        key = override.key_or_group + (f"@{override.package}" if override.package else "")
        axes[key] = (_values(override), override.is_sweep_override())
        if not override.is_sweep_override():
            spelled[override.input_line or ""] = _spelled(override)
    left_out = [set(map(_spelled, parser.parse_overrides(_exclusion(line)))) for line in exclude]
    choices = []
    for combination in product(*(values for values, _ in axes.values())):
        words = {spelled.get(value, value) for value in combination}
        if any(excluded <= words for excluded in left_out):
            continue
        swept = [value for value, (_, varies) in zip(combination, axes.values(), strict=True) if varies]
        choices.append(Choice(combination, tuple(swept)))
    if not choices:
        raise UserError("this sweep has no runs: one of its lists is empty")
    return choices


def _exclusion(line: str) -> list[str]:
    words = line.split()
    if not words or not all("=" in word for word in words):
        raise UserError(
            f"hydra.sweeper.exclude: '{line}' should be KEY=VALUE words, such as 'data=cr model.match=time'"
        )
    return words


def _spelled(override: Override) -> str:
    """A single value as Hydra writes those of a list: True for true, 0.001 for 1e-3."""
    return f"{override.get_key_element()}={override.get_value_element_as_str()}"


def seed_of(override: str) -> int | None:
    """The seed that an override sets; None for any other override."""
    match = _SEED.fullmatch(override)
    return int(match[1]) if match else None


def at_width(overrides: Iterable[str]) -> tuple[str, ...]:
    """The same run at equal width, where it is one at equal wall-clock."""
    return tuple("model.match=width" if _EQUAL_TIME.fullmatch(override) else override for override in overrides)


def name_of(choices: Iterable[Choice]) -> str:
    """A name for a question that was typed rather than kept in a file: the same runs have the same name.

    A larger tuning budget goes on with the question that it was asked for.
    """
    asked = sorted(" ".join(sorted(map(_asked, filter(is_asked, choice.overrides)))) for choice in choices)
    return f"multirun-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"


def is_asked(override: str) -> bool:
    """Whether an override belongs to the question, not to how it is carried out and judged."""
    return not override.startswith(_NOT_THE_QUESTION)


def _asked(override: str) -> str:
    key = override.partition("=")[0]
    return key if key.endswith("tuning.trials") else override


def _values(override: Override) -> list[str]:
    """The overrides that one argument stands for."""
    typed = override.input_line or ""
    if not override.is_sweep_override():
        return [typed]
    if not override.is_discrete_sweep():
        raise UserError(f"{typed}: a grid needs single values: write {override.key_or_group}=1,2,3 or range(1,4)")
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator() if value != SHARED_OPTION]
