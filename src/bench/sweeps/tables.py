"""What a sweep prints: what will run, how it ended, and what a look at the evidence said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.runs.record import RunRecord, Status
from bench.sweeps.evidence import UNDECIDED, Judged, Look
from bench.sweeps.plan import AFTER_EQUAL_WIDTH, Plan

if TYPE_CHECKING:
    from bench.analysis.evidence import Evidence

_STYLES = {Status.FINISHED: "green", Status.FAILED: "red", Status.DIVERGED: "red", Status.INTERRUPTED: "yellow"}


def planned(plan: Plan) -> Table:
    """What will run: a row a cell, its seeds counted."""
    left_out = f", {plan.duplicates} duplicates left out" if plan.duplicates else ""
    runs = len(plan.members) + len(plan.waiting)
    table = _table(f"{plan.name}: {'1 run' if runs == 1 else f'{runs} runs'}{left_out}", "cell")
    for name in ("seeds", "finished", "to run"):
        table.add_column(name, justify="right", overflow="fold")
    to_run = {member.run_id for member in plan.to_run}
    total, missing, waiting = Counter[str](), Counter[str](), Counter[str]()
    for member in plan.members:
        total[member.choice.cell] += 1
        missing[member.choice.cell] += member.run_id in to_run
    for run in plan.waiting:
        total[run.choice.cell] += 1
        waiting[run.choice.cell] += 1
    missing += waiting
    for cell, seeds in total.items():
        later = f", {AFTER_EQUAL_WIDTH}" if waiting[cell] else ""
        table.add_row(Text(cell), str(seeds), str(seeds - missing[cell]), f"{missing[cell]}{later}")
    table.add_section()
    table.add_row("total", str(total.total()), str(total.total() - missing.total()), str(missing.total()))
    return table


def results(plan: Plan, fresh: Mapping[str, RunRecord]) -> Table:
    """How every member ended. fresh: records of this call, by run id."""
    table = _table(f"{plan.name}: results", "run")
    for name in ("status", "accuracy", "train s", "reason"):
        table.add_column(name, justify="right" if name in ("accuracy", "train s") else "left", overflow="fold")
    for member in plan.members:
        record = fresh.get(member.run_id, member.done)
        status = Text("not run", "yellow")
        if record is not None:
            skipped = member.run_id not in fresh
            status = Text("skipped" if skipped else record.status, "dim" if skipped else _STYLES[record.status])
        table.add_row(Text(member.choice.label), status, _accuracy(record), _seconds(record), Text(_reason(record)))
    for waiting in plan.waiting:
        table.add_row(Text(waiting.choice.label), Text("not run", "yellow"), "", "", Text(waiting.reason))
    return table


def sentence(record: RunRecord) -> str:
    """How one run ended."""
    facts = [record.status, _accuracy(record), f"{_seconds(record)} s" if record.train_seconds else "", _reason(record)]
    return ", ".join(fact for fact in facts if fact)


def look_table(look: Look) -> Table:
    """What a look said: a row a task of the headline."""
    upcoming = f"; next look at {look.next_seeds}" if look.goes_on else ""
    table = _table(f"look {look.number} of {look.of}, {look.seeds} seeds{upcoming}", "task")
    for name in ("n", "difference, points"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("verdict", ""):
        table.add_column(name, overflow="fold")
    several = len({(entry.evidence.baseline, entry.evidence.alternative) for entry in look.judged}) > 1
    for entry in look.judged:
        evidence = entry.evidence
        arms = f", {evidence.alternative} − {evidence.baseline}" if several else ""
        table.add_row(
            Text(f"{evidence.scene.task}{arms}"),
            str(len(evidence.seeds)),
            _difference(evidence),
            Text(_verdict(evidence), "yellow" if evidence.verdict == UNDECIDED else "green"),
            _what_next(entry),
        )
    return table


def nothing_judged(look: Look) -> Iterator[str]:
    """Why a look could judge nothing."""
    if look.verdict is None:
        yield f"look {look.number} of {look.of}: no run has finished, so there is nothing to judge"
        return
    protocol = look.verdict.protocol
    yield (
        f"look {look.number} of {look.of}: no finished pair at model.match={protocol.matching} and "
        f"model.pooling={protocol.pooling}, which the protocol judges"
    )
    for apart in look.verdict.study.apart:
        yield f"  set apart{f' ({len(apart.run_ids)} runs)' if apart.run_ids else ''}: {apart.reason}"


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    return table


def _difference(evidence: Evidence) -> str:
    """With its interval, once there is one."""
    if evidence.difference is not None:
        interval = evidence.difference
        return f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    return f"{sum(evidence.deltas) / len(evidence.deltas):+.2f}" if evidence.deltas else ""


def _verdict(evidence: Evidence) -> str:
    cheaper = evidence.held.cheaper
    return evidence.verdict if cheaper in (None, "either") else f"{evidence.verdict}, {cheaper} is faster"


def _what_next(entry: Judged) -> str:
    if entry.goes_on:
        return "goes on"
    return "closed" if entry.evidence.verdict != UNDECIDED else "ends open"


def _accuracy(record: RunRecord | None) -> str:
    """Of the test split; of validation where there is none."""
    if record is None:
        return ""
    accuracy = record.test_accuracy if record.test_accuracy is not None else record.validation_accuracy
    return "" if accuracy is None else f"{accuracy:.1%}"


def _seconds(record: RunRecord | None) -> str:
    return "" if record is None or record.train_seconds is None else f"{record.train_seconds:.1f}"


def _reason(record: RunRecord | None) -> str:
    if record is None or record.error_type is None:
        return ""
    return f"{record.error_type}: {record.error_message}"
