"""`python -m bench inspect RUN_ID "a text"`: reads the texts with each run, writes the page and says what it found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import bench
from bench.data.tokens.text import TokenRules, tokenise
from bench.data.tokens.vocabulary import UNKNOWN
from bench.errors import UserError
from bench.report.inspect_document import inspect_document
from bench.report.inspected import Inspected, InspectedRun
from bench.report.page import render_page
from bench.report.theme import shortened
from bench.report.tokens import visible
from bench.runs.record import RunRecord
from bench.runs.store import Store
from bench.runs.weights import find_weights
from bench.verbs.inspect import write_page

if TYPE_CHECKING:
    from bench.runs.trained import TrainedRun
    from bench.verbs.inspect import Request

FOLDER = "inspect"  # below RESULTS
_MOST_NAMED = 5  # tokens a line of the summary


def inspect_texts(request: Request) -> int:
    """Write the page on the texts and print a summary.

    Raises: `UserError` for runs that cannot be loaded, of another task, and for texts without a token.
    """
    store = Store(request.results)
    _check([find_weights(store, name)[0] for name in request.runs])  # wrong ones are told before torch is imported
    from bench.runs.trained import load

    runs = [load(store, name) for name in request.runs]
    readings = [[_inspected(run, text) for run in runs] for text in request.texts]
    document = inspect_document(request.texts, readings)
    page = request.output or _place(request.results, [run.record.run_id for run in runs], request.texts)
    footer = f"Written by bench {bench.__version__} on {datetime.now(UTC):%d %B %Y, %H:%M} UTC."
    write_page(page, render_page(document, footer).encode())
    console = Console(highlight=False, soft_wrap=True)
    for line in _summary(request.texts, readings):
        console.print(line, markup=False)
    console.print(f"page  {page}", markup=False)
    return 0


def _check(records: Sequence[RunRecord]) -> None:
    """Whether these runs can be looked into.

    Raises: `UserError` if one labels no texts, or is there twice.
    """
    ids = [record.run_id for record in records]
    if len(set(ids)) < len(ids):
        raise UserError(f"inspect: run {ids[0]} is named twice: name another one beside it")
    for record in records:
        task = record.config.get("data.task", "classification")
        if task != "classification":
            raise UserError(
                f"inspect: run {record.run_id} was trained for data.task={task}, and the page is on one class for each "
                "text: name a run of data.task=classification"
            )


def _inspected(run: TrainedRun, text: str) -> Inspected:
    """One run on one text.

    Raises: `UserError` if nothing of the text is left once it is cleaned and divided into tokens.
    """
    from bench.models.trace import read

    whole = tokenise(text, TokenRules.of(run.config.data))
    if not whole:
        raise UserError(
            f"inspect: '{shortened(text)}' holds no token for run {run.record.run_id}, as markup alone: give words"
        )
    rows, tokens = run.encode([text]).tokens[0], run.tokens(text)
    return Inspected(
        run=_described(run),
        tokens=tuple(tokens),
        unseen=tuple((rows <= UNKNOWN).tolist()),
        left_out=len(whole) - len(tokens),
        reading=read(run.network, run.config.model, rows),
    )


def _described(run: TrainedRun) -> InspectedRun:
    record, model = run.record, run.config.model
    words = [run.config.data.name, f"{record.hidden_size_resolved or model.hidden_size} units"]
    if model.num_layers > 1:
        words.append(f"{model.num_layers} layers")
    if model.bidirectional:
        words.append("both directions")
    words.append(f"pooling {model.pooling}")
    accuracy = record.test_accuracy if record.test_accuracy is not None else record.validation_accuracy
    if accuracy is not None:
        split = "test" if record.test_accuracy is not None else "validation"
        words.append(f"{split} accuracy {100 * accuracy:.1f}%")
    return InspectedRun(record.run_id, model.cell, tuple(run.labels), ", ".join(words))


def _place(results: Path, runs: Sequence[str], texts: Sequence[str]) -> Path:
    """A name of its own for these runs and texts; asking again writes the same file."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]
    return results / FOLDER / f"{'-'.join(run[:8] for run in runs)}-{digest}.html"


def _summary(texts: Sequence[str], readings: Sequence[Sequence[Inspected]]) -> Iterator[str]:
    """A few lines a text: what is predicted, and because of which tokens."""
    for text, found in zip(texts, readings, strict=True):
        yield shortened(" ".join(text.split()), 100)
        for one in found:
            yield f"  {one.run.name}: {one.answer} (next: {one.runner_up}); {one.reading_line}"
            if all(one.unseen):
                yield "    no token has a vector of its own: the answer says nothing of the text"
            for sign, words in ((1, "towards it"), (-1, "against it")):
                if named := one.strongest(sign, _MOST_NAMED):
                    yield f"    {words}: " + ", ".join(f"{visible(token)} {value:+.2f}" for token, value in named)
            yield f"    {one.completeness}"
