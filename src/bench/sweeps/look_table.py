"""What a look at the evidence says: a row a task of the headline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.sweeps.evidence import UNDECIDED, Judged, Look
from bench.sweeps.tables import titled

if TYPE_CHECKING:
    from bench.analysis.evidence import Evidence


def look_table(look: Look) -> Table:
    """What a look said: a row a task of the headline."""
    upcoming = f"; next look at {look.next_seeds}" if look.goes_on else ""
    table = titled(f"look {look.number} of {look.of}, {look.seeds} seeds{upcoming}", "task")
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
