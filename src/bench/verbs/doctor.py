"""`python -m bench doctor`: versions, devices and the kernels of each cell, caches, what is where, reachability.

Every line ends in ok, or in what it means and what to type. Exit code 1 if no run can be made as things are.

Where it is not known yet which execution of each cell is the faster one on this machine, they are timed, in about 15
seconds: `model.kernel=auto` goes by that. measure=true times them anew, measure=false leaves it out; hardware.threads=N
does so for runs with so many threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby

from bench.errors import UserError, did_you_mean
from bench.processor import limit_spinning
from bench.verbs.doctor_findings import Check, Finding, Measure, Watch

USAGE = "python -m bench doctor [--json] [measure=true|false] [hardware.threads=N]"

_PATIENCE_SECONDS = 20.0  # with a disk that hangs; servers have less, in bench.network


def doctor(arguments: Sequence[str]) -> int:
    """Look at everything a run depends on.

    Raises: `UserError` for arguments it does not know.
    """
    asked = _asked(arguments)
    limit_spinning()
    found = examine(asked.measure, asked.threads)
    if asked.json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        _print(found)
    return 1 if any(finding.state == "impossible" for finding in found) else 0


@dataclass(frozen=True)
class _Asked:
    """What was typed."""

    json: bool
    measure: Measure
    threads: int | None


def _asked(arguments: Sequence[str]) -> _Asked:
    words = {"--json", "measure=true", "measure=false"}
    threads = None
    for word in arguments:
        key, _, value = word.partition("=")
        if key == "hardware.threads" and value.isdecimal() and int(value) > 0:
            threads = int(value)
        elif word not in words:
            hint = did_you_mean(word, [*words, "hardware.threads=N"])
            raise UserError(f"doctor: unknown argument '{word}': {hint} ({USAGE})")
    measure: Measure = "always" if "measure=true" in arguments else "missing"
    return _Asked("--json" in arguments, "never" if "measure=false" in arguments else measure, threads)


def examine(measure: Measure = "never", threads: int | None = None) -> list[Finding]:
    """All findings. What waits for disks and servers does so while torch is imported.

    measure: which machines' kernels are timed;  threads: of runs, None for all cores.
    """
    begun = time.monotonic()
    from bench.verbs import doctor_kernels, doctor_machine, doctor_places, doctor_reach, doctor_versions

    checks = [
        Check("network", doctor_reach.hub),
        Check("network", doctor_reach.wandb),
        Check("places", doctor_places.places),
        Check("corpora", doctor_places.corpora),
        Check("vectors", doctor_places.vectors),
    ]
    found = [*doctor_versions.versions(), *doctor_machine.machine(), *doctor_machine.devices()]
    for check in checks:
        found += check.result(max(0.1, begun + _PATIENCE_SECONDS - time.monotonic()))
    if not any(finding.name == "torch" and finding.state == "impossible" for finding in found):
        with _progress() as watch:
            found += doctor_kernels.kernels(measure, threads, watch)
    order = ["versions", "machine", "kernels", "places", "corpora", "vectors", "network"]
    return sorted(found, key=lambda finding: order.index(finding.group))


@contextmanager
def _progress() -> Iterator[Watch]:
    """Says that kernels are timed, beside what is printed: a script reads that alone."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    status = console.status("timing the kernels of each cell")
    begun: list[str] = []

    def watch(cell: str, hidden_size: int) -> None:
        if not begun and console.is_terminal:
            status.start()
        elif not begun:
            console.print("timing the kernels of each cell, about 15 seconds (measure=false leaves it out)")
        begun.append(cell)
        status.update(f"timing the kernels of each cell: {cell}, hidden size {hidden_size}")

    try:
        yield watch
    finally:
        status.stop()


def _print(found: Sequence[Finding]) -> None:
    """Two columns on a terminal; through a pipe, a line for each finding."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        for finding in found:
            print(f"{finding.group}: {finding.name}: {finding.value}: {_ending(finding)}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for group, findings in groupby(found, key=lambda finding: finding.group):
        table.add_row(f"[bold]{group}[/bold]")
        for finding in findings:
            table.add_row(f"  {escape(finding.name)}", f"{escape(finding.value)}  {_styled(finding)}")
    console.print(table)


def _ending(finding: Finding) -> str:
    said = finding.advice or ("ok" if finding.state == "ok" else "unexpected")
    return f"no run can be made: {said}" if finding.state == "impossible" else said


def _styled(finding: Finding) -> str:
    from rich.markup import escape

    style = {"ok": "green", "remark": "yellow", "impossible": "bold red"}[finding.state]
    return f"[{style}]{escape(_ending(finding))}[/{style}]"
