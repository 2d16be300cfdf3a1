"""`python -m bench report`: the verdict with its evidence, as one page that works offline, Markdown, figures, tables.

Judges by the protocol that was stored when the sweep was planned, unless another one is asked for.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.compose import compose
from bench.config import ProtocolConfig
from bench.errors import UserError, did_you_mean
from bench.files import without_home
from bench.runs.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from bench.analysis.verdict import Verdict
    from bench.report.document import Document
    from bench.report.question import Question

USAGE = (
    "python -m bench report [sweep=NAME] [compare=KEY] [results=DIR] [protocol=NAME] [protocol.KEY=VALUE ...] "
    "[diff=A..B] [wandb=true]"
)
_KEYS = ("sweep", "compare", "results", "protocol", "diff", "wandb")
_DEFAULT_FACTOR = "model.cell"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. wandb: whether W&B gets a workspace, and the runs that it lacks;  protocol: overrides as
    typed;  typed: all arguments."""

    sweep: str | None
    compare: str
    results: Path
    diff: str | None
    wandb: bool
    protocol: tuple[str, ...]
    typed: tuple[str, ...]


def report(arguments: Sequence[str]) -> int:
    """Write a report, print its answer and where it lies.

    Raises: `UserError` for arguments it does not know, and where there is nothing to report on.
    """
    request = _parse(arguments)
    console = Console(highlight=False, soft_wrap=True)
    store = Store(request.results)
    with _no_collection():
        if request.diff:
            return _differences(request, store, console)
        if (name := _claimed(request, store)) is not None:
            from bench.verbs.report_claims import report_claims

            with _skipped() as skipped:
                return report_claims(store, name, console, skipped)
        return _verdict(request, store, console)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of small objects live until the report is written: looking for garbage among them takes seconds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(arguments: Sequence[str]) -> Request:
    """The arguments as a request.

    Raises: `UserError` for unknown keys, empty values, a folder that does not exist, and keys that exclude each other.
    """
    given: dict[str, str] = {}
    protocol = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in _KEYS and not key.startswith("protocol."):
            raise UserError(f"report: unknown argument '{argument}': {did_you_mean(key, _KEYS)} ({USAGE})")
        if not value:
            raise UserError(f"report: {key} needs a value ({USAGE})")
        if key.startswith("protocol"):
            protocol.append(argument)
        else:
            given[key] = value
    results = Path(given.get("results", "results")).expanduser()
    if "results" in given and not results.is_dir():
        raise UserError(f"report: results={given['results']}: no such folder")
    if "diff" in given and (extra := [key for key in ("sweep", "compare", "wandb") if key in given] + protocol):
        raise UserError(f"report: diff= stands alone: leave {extra[0]} out")
    return Request(
        sweep=given.get("sweep"), compare=given.get("compare", _DEFAULT_FACTOR), results=results,
        diff=given.get("diff"), wandb=_wandb(given.get("wandb", "false")), protocol=tuple(protocol),
        typed=tuple(arguments),
    )  # fmt: skip


def _wandb(value: str) -> bool:
    if value not in ("true", "false"):
        raise UserError(f"report: wandb={value}: should be true or false")
    if value == "true":
        from bench.tracking.workspace import require_workspaces

        require_workspaces()
    return value == "true"


def _claimed(request: Request, store: Store) -> str | None:
    """The question, where it is answered by its claim: compare= and protocol= ask for a verdict on its runs instead."""
    from bench.report.claimed import claims_something

    of_verdicts = ("compare=", "protocol", "wandb=true")
    asks_for_a_verdict = any(word.startswith(of_verdicts) for word in request.typed)
    name = None if asks_for_a_verdict else request.sweep
    return name if name is not None and claims_something(store, name) else None


def _verdict(request: Request, store: Store, console: Console) -> int:
    from bench.analysis.verdict import verdict
    from bench.report.question import Question, read_question
    from bench.report.sections import compose_report

    with _skipped() as skipped:
        records = store.table()
        question = Question() if request.sweep is None else read_question(store, request.sweep)
    if question.run_ids is not None:
        records = records[records["run_id"].isin(question.run_ids | question.trial_ids)].reset_index(drop=True)
    if records.empty:
        raise UserError(_nothing(request, question))
    stored = question.stored.protocol if question.stored else None
    protocol = _protocol(stored, request.protocol)
    found = verdict(records, protocol, request.compare, stored=stored)
    document = compose_report(found, question, records, tuple(skipped))
    factor = "" if request.compare == _DEFAULT_FACTOR else f"-{request.compare}"
    path = _write(document, found.study.runs, store, f"{question.name}{factor}")
    _show(found, console)
    console.print(f"page: {path}", markup=False)
    if request.wandb:
        from bench.verbs.dashboard import show_at_wandb

        run_ids = list(dict.fromkeys(records["run_id"]))
        show_at_wandb(question, run_ids, store, folder=path.parent, typed=request.typed, console=console)
    return 0


def _nothing(request: Request, question: Question) -> str:
    where = "" if request.results == Path("results") else f" results={request.results}"
    if question.run_ids is None:
        return f"report: no runs in {request.results}: `python -m bench -m +sweep=gru_first{where}` makes some"
    return (
        f"report: none of the {len(question.run_ids)} planned runs of sweep '{question.name}' has a record yet: "
        f"`python -m bench -m +sweep={question.name}{where}` carries them out"
    )


def _protocol(stored: ProtocolConfig | None, typed: Sequence[str]) -> ProtocolConfig:
    """The stored protocol with what was typed changed in it; a protocol that is typed by name replaces it."""
    kept = {} if stored is None or any(override.startswith("protocol=") for override in typed) else asdict(stored)
    changed = {override.partition("=")[0] for override in typed}
    base = [f"protocol.{key}={json.dumps(value)}" for key, value in kept.items() if f"protocol.{key}" not in changed]
    return compose([*base, *typed]).protocol


class _Collected(logging.Handler):
    """Keeps what is skipped while records and plans are read, and prints it: the page names it too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One line, home folders written as `~`."""
        self.lines.append(without_home(record.getMessage()))
        print(f"bench: {self.lines[-1]}", file=sys.stderr)


@contextmanager
def _skipped() -> Iterator[list[str]]:
    """The lines that are logged inside of the block."""
    collected, logger = _Collected(), logging.getLogger("bench")
    logger.addHandler(collected)
    try:
        yield collected.lines
    finally:
        logger.removeHandler(collected)


def _write(document: Document, runs: pd.DataFrame, store: Store, name: str) -> Path:
    from bench.report.folder import write_report
    from bench.report.names import file_name

    return write_report(document, runs, store.results / "reports" / file_name(name))


def _show(found: Verdict, console: Console) -> None:
    """The answer and the headline scenes."""
    from bench.report.cells import verdict_words
    from bench.report.numbers import UNKNOWN, bounds, number

    console.print(Text(found.sentence, "bold"))
    if not found.headline:
        return
    table = Table()
    table.add_column("task", overflow="fold")
    for name in ("n", "difference", "interval", "time ratio"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for entry in found.headline:
        difference, ratio = entry.difference, entry.time_ratio
        table.add_row(
            Text(entry.scene.task), str(len(entry.seeds)),
            number(difference.estimate, sign=True) if difference else UNKNOWN,
            Text(bounds(difference.low, difference.high) if difference else UNKNOWN),
            number(ratio.estimate) if ratio else UNKNOWN, Text(verdict_words(entry)),
        )  # fmt: skip
    console.print(table, soft_wrap=False)


def _differences(request: Request, store: Store, console: Console) -> int:
    from bench.analysis.differences import difference
    from bench.analysis.sides import both_sides
    from bench.report.changes import compose_differences

    assert request.diff is not None
    with _skipped() as skipped:
        before, after = both_sides(request.diff, store)
    found = difference(before, after)
    document = compose_differences(found, without_home(request.diff), tuple(skipped))
    digest = hashlib.sha256(request.diff.encode()).hexdigest()[:8]
    path = _write(document, found.table(), store, f"diff-{digest}")
    console.print(Text(document.sentence, "bold"))
    for arm in found.arms:
        console.print(f"  {arm.arm}: {arm.changed}, {arm.reason}", markup=False)
    console.print(f"page: {path}", markup=False)
    return 0
