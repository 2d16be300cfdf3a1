"""What `python -m bench status` shows: a table of counts, one of what is running, and a line for whatever needs one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.sweeps.status.estimate import in_words
from bench.sweeps.status.overview import COUNTED, WAITING, Failure, Line, Overview, Running, by_reason
from bench.sweeps.status.state import State

_STYLES: dict[str, str] = {State.FINISHED: "green", State.RUNNING: "cyan", State.FAILED: "red", State.DIVERGED: "red"}
_HEADS: dict[str, str] = {State.INTERRUPTED: "inter-\nrupted"}
_MOST_RUNNING = 40  # rows


def all_questions(found: Sequence[Overview]) -> Table:
    """A row a question, and below it one for its tuning."""
    rows = []
    for overview in found:
        rows.append(overview.total)
        if overview.trials is not None:
            rows.append(overview.trials)
    return _counted("question", rows, [])


def one_question(overview: Overview) -> Table:
    """A row a cell, its seeds counted."""
    totals = [overview.total] if overview.trials is None else [overview.total, overview.trials]
    return _counted("cell", overview.cells, totals)


def running(found: Sequence[Overview]) -> Table:
    """A row for every run that is being carried out."""
    table = _table()
    for name in ("running", "", "epoch", "accuracy", "for", "left", "where"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("", "where"))
    runs = [run for overview in found for run in overview.running]
    for run in runs[:_MOST_RUNNING]:
        table.add_row(run.run_id, Text(run.label), *_progress(run), run.place)
    if len(runs) > _MOST_RUNNING:
        table.add_row("…", f"and {len(runs) - _MOST_RUNNING} more", "", "", "", "", "")
    return table


def remarks(overview: Overview) -> Iterator[Text]:
    """What failed and why, what goes on from where, what waits for what, and the time left."""
    name, lines = overview.name, list[tuple[str, str]]()
    for state in (State.FAILED, State.DIVERGED):
        lines += [(_failed(state, *reason), "red") for reason in by_reason(overview.failures(state))]
    if interrupted := overview.interrupted:
        with_checkpoint = sum(interrupted.values())
        lines.append((f"{len(interrupted)} interrupted, {with_checkpoint} of them with a checkpoint to go on from", ""))
    if waiting := overview.total.counts[WAITING]:
        lines.append((f"{waiting} waiting for those at equal width, which settle their seconds", ""))
    if overview.replaced:
        lines.append((f"{overview.replaced} runs of earlier plans left out: code or corpus has changed since", ""))
    left = overview.total.left
    if left.seconds or left.unknown:
        lines.append((f"time left {left.sentence}", "bold"))
    yield from (Text(f"{name}: {line}", style) for line, style in lines)


def _counted(first: str, rows: Sequence[Line], totals: Sequence[Line]) -> Table:
    """Counts by state; a state that no run is in has no column."""
    table = _table()
    table.add_column(first, overflow="fold", min_width=17)
    shown = [name for name in COUNTED if any(row.counts[name] for row in (*rows, *totals))]
    for name in ("runs", *shown):
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
    table.add_column("time left", overflow="fold", min_width=7)
    for row in rows:
        table.add_row(*_cells(row, shown))
    if totals:
        table.add_section()
        for row in totals:
            table.add_row(*_cells(row, shown))
    return table


def _table() -> Table:
    """Narrow: with all its columns it fits into 80 characters."""
    return Table(box=SIMPLE_HEAD, padding=0)


def _cells(row: Line, shown: Sequence[str]) -> Iterator[Text]:
    yield Text(row.label)
    yield Text(str(row.runs))
    for name in shown:
        yield Text(str(row.counts[name] or ""), _STYLES.get(name, ""))
    yield Text(row.left.short)


def _progress(run: Running) -> Iterator[str]:
    """Epoch, accuracy, time so far, time left."""
    progress = run.progress
    yield "" if progress is None else f"{progress.epoch}/{progress.epochs}"
    yield "" if progress is None or progress.accuracy is None else f"{progress.accuracy:.1%}"
    yield in_words(run.seconds)
    yield "" if progress is None or progress.seconds_left is None else in_words(progress.seconds_left)


def _failed(state: State, count: int, example: Failure) -> str:
    others = "such as " if count > 1 else ""
    run = f"{others}run {example.run_id}{f' ({example.label})' if example.label else ''}"
    return f"{count} {state}, {example.error_type}: {example.error_message} [{run}]"
