"""A question that is made of several, such as `+sweep=claims/all`: planned and carried out one after the other.

Each part is a question of its own, with its plan, its protocol and its claim; runs that several parts want are carried
out once. What was typed beside the question applies to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from bench.compose import compose, question_parts
from bench.errors import UserError, did_you_mean
from bench.options import sweep_files
from bench.runs.store import Store
from bench.runs.stored_claims import store_parts

_QUESTION = re.compile(r"\+*sweep=(.*)")
_INTERRUPTED = 130


@dataclass(frozen=True)
class Part:
    """One of the questions. name: of its folder;  overrides: all that is typed for it."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A question made of others. name: its own."""

    name: str
    parts: tuple[Part, ...]


def parts_of(overrides: Sequence[str]) -> Parts | None:
    """The parts of the question that is asked; None where it has runs of its own.

    Raises: `UserError` for a part that is no question, or is itself made of others.
    """
    asked = [matched[1] for override in overrides if (matched := _QUESTION.fullmatch(override))]
    lines = question_parts(asked[-1]) if asked and asked[-1] in sweep_files() else []
    if not lines:
        return None
    typed = [override for override in overrides if not _QUESTION.fullmatch(override)]
    if named := [override for override in typed if override.startswith("sweep.name=")]:
        raise UserError(f"{named[0]}: {asked[-1]} is several questions, each with a name of its own: leave it out")
    return Parts(asked[-1], tuple(_part(asked[-1], line, typed) for line in lines))


def _part(question: str, line: str, typed: Sequence[str]) -> Part:
    name, *words = line.split() or [""]
    if name not in sweep_files():
        raise UserError(f"sweep.parts of {question}: unknown sweep '{name}': {did_you_mean(name, sweep_files())}")
    if question_parts(name):
        raise UserError(f"sweep.parts of {question}: {name} is made of parts itself: list those instead")
    named = [word.partition("=")[2] for word in words if word.startswith("sweep.name=")]
    return Part(named[-1] if named else name, (f"+sweep={name}", *words, *typed))


def carry_out(asked: Parts, run: Callable[[Sequence[str]], int], typed: Sequence[str], console: Console) -> int:
    """Carry out every part; the exit code: 0 all finished, 1 some did not, 130 interrupted.

    run: carries out one question and gives its exit code;  typed: all that was typed. A part that cannot be planned,
    such as one whose corpus is not there, is left out with a line that says why.
    Raises: `UserError` if no part can be planned: the first one's.
    """
    dry_run = any(re.fullmatch(r"dry_run=(?i:true)", override) for override in typed)
    if not dry_run:
        results = compose([override for override in typed if override.startswith("results=")]).results
        store_parts(Store(results), asked.name, [part.name for part in asked.parts])
    code, refused = 0, list[UserError]()
    for number, part in enumerate(asked.parts, 1):
        console.print(f"{asked.name}, {number} of {len(asked.parts)}: {part.name}", markup=False)
        try:
            ended = run(part.overrides)
        except UserError as error:
            console.print(f"left out {part.name}: {error}", markup=False)
            refused.append(error)
            continue
        if ended == _INTERRUPTED:
            return ended
        code = max(code, ended)
    if len(refused) == len(asked.parts):
        raise refused[0]
    if not dry_run:
        where = "".join(f" {override}" for override in typed if override.startswith("results="))
        console.print(f"answers: python -m bench report sweep={asked.name}{where}", markup=False)
    return 1 if refused else code
