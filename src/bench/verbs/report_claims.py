"""The report on a question that claims something: written, and its answers printed."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import UserError
from bench.report.claimed import Claims, answer_claims, planned_claims
from bench.report.claims import claims_document
from bench.report.figures_claims import told
from bench.report.folder import write_report
from bench.report.names import file_name
from bench.runs.store import Store


def report_claims(store: Store, name: str, console: Console, skipped: list[str]) -> int:
    """Write the page, print each claim's answer and where the page lies. skipped: gains a line for what is not read.

    Raises: `UserError` where none of the questions has been planned.
    """
    claims = answer_claims(planned_claims(store, name), store.table())
    if not claims.parts:
        raise UserError(f"report: nothing of sweep '{name}' has been planned yet: python -m bench -m +sweep={name}")
    document = claims_document(claims, tuple(skipped))
    path = write_report(document, claims.runs, store.results / "reports" / file_name(name))
    console.print(Text(document.sentence, "bold"))
    console.print(_table(claims), soft_wrap=False)
    for warning in document.warnings:
        console.print(warning, markup=False)
    console.print(f"page: {path}", markup=False)
    return 0


def _table(claims: Claims) -> Table:
    """A row a measure."""
    table = Table()
    for title in ("claim", "measure"):
        table.add_column(title, overflow="fold")
    table.add_column("n", justify="right")
    table.add_column("measured [interval]", justify="right")
    table.add_column("answer")
    for part in claims.parts:
        table.add_section()
        for place, found in enumerate(part.answer.found):
            said = part.answer.claim.says if place == 0 else ""
            table.add_row(
                Text(said), Text(found.measure.name), str(found.seeds), Text(told(found)), Text(found.verdict)
            )
        if len(part.answer.found) > 1:
            table.add_row("", "all of them", "", "", Text(part.answer.verdict, "bold"))
    return table
