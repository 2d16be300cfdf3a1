"""A sweep's plan: every combination of what was typed, composed, named, without duplicates, and kept in one file.

`RESULTS/sweeps/<name>/plan-<hash>.json` says which runs answer the question, so that a report never has to guess.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench.compose import SHARED_OPTION, compose
from bench.config import BenchConfig
from bench.errors import UserError
from bench.files import write_atomically
from bench.runs.identity import Opened, resolve
from bench.runs.record import RunRecord
from bench.runs.store import Store

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override

PLAN_SCHEMA_VERSION = 1

_SEED = re.compile(r"seed=(\d{1,18})")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
# How a sweep is carried out is no part of the question: a dry run has the name of the real one.
_NOT_THE_QUESTION = ("dry_run=", "force=", "results=", "keep=")


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


@dataclass(frozen=True)
class Member:
    """One run of a sweep. overrides: what its process is started with;  done: its record, where it is finished."""

    choice: Choice
    overrides: tuple[str, ...]
    config: BenchConfig
    run_id: str
    pair_key: str
    arm: str
    code_version: str
    done: RunRecord | None


@dataclass(frozen=True)
class Plan:
    """Which runs answer a question. duplicates: combinations left out because another one is the same run."""

    name: str
    arguments: tuple[str, ...]
    members: tuple[Member, ...]
    duplicates: int

    @property
    def to_run(self) -> list[Member]:
        """Members without a finished record, and every one with `force=true`."""
        return [member for member in self.members if member.done is None or member.config.force]

    def write(self, store: Store) -> Path:
        """Keep the plan beside the records; the same plan is the same file."""
        content = {
            "schema_version": PLAN_SCHEMA_VERSION,
            "name": self.name,
            "arguments": self.arguments,
            "members": [
                {
                    "run_id": member.run_id,
                    "pair_key": member.pair_key,
                    "arm": member.arm,
                    "seed": member.config.seed,
                    "overrides": member.overrides,
                }
                for member in self.members
            ],
        }
        text = json.dumps(content, indent=1) + "\n"
        path = sweep_folder(store, self.name) / f"plan-{_digest(text)}.json"
        if not path.exists():
            write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return path


def sweep_folder(store: Store, name: str) -> Path:
    """Where the plans and logs of a sweep lie."""
    return store.results / "sweeps" / name


def make_plan(
    arguments: Sequence[str], params: Mapping[str, object], name: str | None, store: Store, loader: ConfigLoader
) -> Plan:
    """Compose and name every run of a sweep.

    arguments: overrides as typed;  params: the grid of a sweep file, which `arguments` override;
    name: of the question, None for one that was typed;  loader: Hydra's, for `model=glob(*)`.
    Raises: `UserError` if any run does not compose or validate: nothing has run then.
    """
    choices = expand(arguments, params, loader)
    name = name or _name_of(choices)
    if not _NAME.fullmatch(name):
        raise UserError(f"sweep.name={name}: becomes a folder, so write letters, digits, '.', '_' and '-' only")
    members: dict[str, Member] = {}
    opened = Opened()
    for choice, overrides, config in _composed(choices, name):
        try:
            resolved = resolve(config, opened)
        except UserError as error:
            raise UserError(f"{error} (run {choice.label})") from None
        if resolved.run_id not in members:
            members[resolved.run_id] = Member(
                choice=choice,
                overrides=overrides,
                config=config,
                run_id=resolved.run_id,
                pair_key=resolved.pair_key,
                arm=resolved.arm,
                code_version=resolved.code_version,
                done=store.finished(resolved.run_id),
            )
    return Plan(name, tuple(arguments), tuple(members.values()), duplicates=len(choices) - len(members))


def expand(arguments: Sequence[str], params: Mapping[str, object], loader: ConfigLoader) -> list[Choice]:
    """Every combination of the values that were typed or stand in a sweep file, the last key varying fastest.

    Raises: `UserError` for an interval, which has no end of values; Hydra's errors for what it cannot read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    grid = [f"{key}={'null' if value is None else value}" for key, value in params.items()]
    axes: dict[str, tuple[list[str], bool]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides([*grid, *arguments]):
        key = override.key_or_group + (f"@{override.package}" if override.package else "")
        axes[key] = (_values(override), override.is_sweep_override())
    choices = []
    for combination in product(*(values for values, _ in axes.values())):
        swept = [value for value, (_, varies) in zip(combination, axes.values(), strict=True) if varies]
        choices.append(Choice(combination, tuple(swept)))
    if not choices:
        raise UserError("this sweep has no runs: one of its lists is empty")
    return choices


def _values(override: Override) -> list[str]:
    """The overrides that one argument stands for."""
    typed = override.input_line or ""
    if not override.is_sweep_override():
        return [typed]
    if not override.is_discrete_sweep():
        raise UserError(f"{typed}: a grid needs single values: write {override.key_or_group}=1,2,3 or range(1,4)")
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator() if value != SHARED_OPTION]


def _composed(choices: Sequence[Choice], name: str) -> Iterator[tuple[Choice, tuple[str, ...], BenchConfig]]:
    """Every choice with its overrides and configuration; Hydra composes once for all seeds of a cell."""
    marks = ("sweep.member=true", f"sweep.name={name}")
    composed: dict[tuple[str, ...], BenchConfig] = {}
    for choice in choices:
        overrides = (*(o for o in choice.overrides if not o.startswith("sweep.name=")), *marks)
        seeds = [int(match[1]) for match in map(_SEED.fullmatch, overrides) if match]
        seedless = tuple(override for override in overrides if not _SEED.fullmatch(override))
        if seedless not in composed:
            try:
                composed[seedless] = compose(seedless)
            except UserError as error:
                raise UserError(f"{error} (run {choice.label})" if choice.swept else str(error)) from None
        config = composed[seedless]
        yield choice, overrides, replace(config, seed=seeds[-1]) if seeds else config


def _name_of(choices: Sequence[Choice]) -> str:
    """A name for a question that was typed rather than kept in a file: the same runs have the same name."""
    asked = sorted(" ".join(sorted(o for o in c.overrides if not o.startswith(_NOT_THE_QUESTION))) for c in choices)
    return f"multirun-{_digest(json.dumps(asked))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
