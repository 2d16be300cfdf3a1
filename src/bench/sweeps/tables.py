"""What a sweep prints: what will run, what tuning found, and how everything ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.runs.record import RunRecord, Status
from bench.sweeps.plan import AFTER_EQUAL_WIDTH, Member, Plan
from bench.sweeps.status.estimate import Estimate

if TYPE_CHECKING:
    from bench.sweeps.tuning.winners import Winner

_MOST_ROWS = 60  # of results with a row a run
_TOTAL = "total"
_STYLES = {Status.FINISHED: "green", Status.FAILED: "red", Status.DIVERGED: "red", Status.INTERRUPTED: "yellow"}


def planned(plan: Plan, estimated: Estimate) -> Table:
    """What will run: a row a cell, its seeds counted. estimated: of `plan.to_run`."""
    left_out = f", {plan.duplicates} duplicates left out" if plan.duplicates else ""
    runs = len(plan.members) + len(plan.waiting)
    table = titled(f"{plan.name}: {'1 run' if runs == 1 else f'{runs} runs'}{left_out}", "cell")
    failed = {member.run_id for member in plan.left_out}
    for name in ("seeds", "finished", *(["failed before"] if failed else []), "to run", "estimated"):
        table.add_column(name, justify="right", overflow="fold")
    to_run = {member.run_id for member in plan.to_run}
    cells: dict[str, list[Member]] = {}
    waiting: dict[str, int] = {}
    for member in plan.members:
        cells.setdefault(member.choice.cell, []).append(member)
    for run in plan.waiting:
        cells.setdefault(run.choice.cell, [])
        waiting[run.choice.cell] = waiting.get(run.choice.cell, 0) + 1

    def row(name: str, members: Sequence[Member], later: int, short: str) -> None:
        ids = {member.run_id for member in members}
        left, lost = len(ids & to_run), len(ids & failed)
        state = [str(len(ids) - left - lost), *([str(lost)] if failed else [])]
        note = f", {AFTER_EQUAL_WIDTH}" if later and name != _TOTAL else ""
        table.add_row(Text(name), str(len(ids) + later), *state, f"{left + later}{note}", short)

    for cell, members in cells.items():
        ids = [member.run_id for member in members if member.run_id in to_run]
        row(cell, members, waiting.get(cell, 0), estimated.of(ids, waiting.get(cell, 0)).short)
    table.add_section()
    row(_TOTAL, plan.members, len(plan.waiting), replace(estimated, unnamed=len(plan.waiting)).short)
    return table


def winners(found: Mapping[str, Winner], name: str) -> Table:
    """What tuning found: a row an arm."""
    table = titled(f"{name}: winners of the tuning", "arm")
    table.add_column("trial", justify="right")
    table.add_column("validation accuracy", justify="right")
    table.add_column("values", overflow="fold")
    for arm, winner in found.items():
        table.add_row(Text(arm), str(winner.trial), f"{winner.validation_accuracy:.1%}", Text(" ".join(winner.values)))
    return table


def results(plan: Plan, fresh: Mapping[str, RunRecord]) -> Table:
    """How every member ended, a row a run; of a large plan a row a cell, and one for each run that did not finish.

    fresh: records of this call, by run id.
    """
    large = len(plan.members) > _MOST_ROWS
    table = titled(f"{plan.name}: results", "cell" if large else "run")
    for name in ("status", "accuracy", "train s", "reason"):
        table.add_column(name, justify="right" if name in ("accuracy", "train s") else "left", overflow="fold")
    members = list(plan.members)
    if large:
        members = [member for member in members if _status(member, fresh) is not Status.FINISHED]
        for cell, finished in _finished_by_cell(plan, fresh).items():
            table.add_row(Text(cell), *_summary(finished, sum(m.choice.cell == cell for m in plan.members)), "")
        table.add_section()
    for member in members:
        record = fresh.get(member.run_id, member.done or member.last)
        table.add_row(
            Text(member.choice.label), _state(member, record, fresh), _accuracy(record), _seconds(record),
            Text(_reason(record)),
        )  # fmt: skip
    for waiting in plan.waiting:
        table.add_row(Text(waiting.choice.label), Text("not run", "yellow"), "", "", Text(waiting.reason))
    return table


def _status(member: Member, fresh: Mapping[str, RunRecord]) -> Status | None:
    record = fresh.get(member.run_id, member.done or member.last)
    return record.status if record else None


def _state(member: Member, record: RunRecord | None, fresh: Mapping[str, RunRecord]) -> Text:
    """How a member ended; dim where it did so in an earlier call."""
    if record is None:
        return Text("not run", "yellow")
    if member.run_id in fresh:
        return Text(record.status, _STYLES[record.status])
    return Text("skipped", "dim") if record.status is Status.FINISHED else Text(f"{record.status} before", "dim red")


def _finished_by_cell(plan: Plan, fresh: Mapping[str, RunRecord]) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {member.choice.cell: [] for member in plan.members}
    for member in plan.members:
        record = fresh.get(member.run_id, member.done or member.last)
        if record is not None and record.status is Status.FINISHED:
            found[member.choice.cell].append(record)
    return found


def _summary(finished: Sequence[RunRecord], planned: int) -> tuple[Text, str, str]:
    """Of a cell: how many finished, their mean accuracy and median training time."""
    style = "green" if len(finished) == planned else "yellow"
    state = Text(f"{len(finished)} of {planned} finished", style)
    if not finished:
        return state, "", ""
    accuracies = [a for r in finished if (a := _quality(r)) is not None]
    seconds = [record.train_seconds for record in finished if record.train_seconds is not None]
    return (
        state,
        f"{mean(accuracies):.1%}" if accuracies else "",
        f"{median(seconds):.1f}" if seconds else "",
    )


def sentence(record: RunRecord) -> str:
    """How one run ended."""
    facts = [record.status, _accuracy(record), f"{_seconds(record)} s" if record.train_seconds else "", _reason(record)]
    return ", ".join(fact for fact in facts if fact)


def titled(title: str, first: str) -> Table:
    """An empty table with its title at the left and a first column that wraps."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    return table


def _accuracy(record: RunRecord | None) -> str:
    """Of the test split; of validation where there is none."""
    if record is None:
        return ""
    accuracy = _quality(record)
    return "" if accuracy is None else f"{accuracy:.1%}"


def _seconds(record: RunRecord | None) -> str:
    return "" if record is None or record.train_seconds is None else f"{record.train_seconds:.1f}"


def _reason(record: RunRecord | None) -> str:
    if record is None or record.error_type is None:
        return ""
    return f"{record.error_type}: {record.error_message}"


def _quality(record: RunRecord) -> float | None:
    return record.test_accuracy if record.test_accuracy is not None else record.validation_accuracy
