"""`python -m bench doctor`: versions, devices and the kernel each cell would use, caches, what is where, reachability.

Every line ends in ok, or in what it means and what to type. Exit code 1 if no run can be made as things are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from bench.errors import UserError, did_you_mean
from bench.verbs.doctor_findings import Check, Finding

USAGE = "python -m bench doctor [--json]"

_PATIENCE_SECONDS = 20.0  # with a disk that hangs; servers have less, in bench.network


def doctor(arguments: Sequence[str]) -> int:
    """Look at everything a run depends on.

    Raises: `UserError` for arguments it does not know.
    """
    for word in arguments:
        if word != "--json":
            raise UserError(f"doctor: unknown argument '{word}': {did_you_mean(word, ['--json'])} ({USAGE})")
    found = examine()
    if arguments:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        _print(found)
    return 1 if any(finding.state == "impossible" for finding in found) else 0


def examine() -> list[Finding]:
    """All findings. What waits for disks and servers does so while torch is imported."""
    begun = time.monotonic()
    from bench.verbs import doctor_machine, doctor_places, doctor_reach, doctor_versions

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
    order = ["versions", "machine", "kernels", "places", "corpora", "vectors", "network"]
    return sorted(found, key=lambda finding: order.index(finding.group))


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
