"""`python -m bench inspect RUN_ID ... --gradients`: how gradients travel back through texts, on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.runs.store import Store
from bench.verbs.inspect import write_page

if TYPE_CHECKING:
    import pandas as pd

    from bench.verbs.inspect import Request

_COLUMNS = (  # of an 80-character terminal; the page has longer titles
    ("decay", "factor h", 4), ("half_life", "half-life h", 1), ("carousel_decay", "factor c", 4),
    ("carousel_half_life", "half-life c", 1), ("singular_value", "sigma", 2), ("derivative", "mean f'", 3),
    ("saturation", "saturated", 2),
)  # fmt: skip
_WEIGHTS = {"at initialisation": "first", "after training": "best"}


def inspect_gradients(request: Request) -> int:
    """Measure, or take from the records, print a table and write the page.

    Raises: `UserError` for runs that cannot be measured, and for a page that cannot be written.
    """
    from bench.report.folder import write_report
    from bench.report.gradients import document_name, gradient_document
    from bench.runs.flow_again import record_with_flow
    from bench.runs.index import frame_of

    store, console = Store(request.results), Console(highlight=False, soft_wrap=True)
    found = [record_with_flow(store, run) for run in request.runs]
    frame = frame_of({record.run_id: record for record in found}.values())
    document = gradient_document(frame)
    path = write_report(document, frame, store.results / "inspect" / document_name(frame))
    if request.output is not None:
        write_page(request.output, path.read_bytes())  # it holds everything
    console.print(Text(document.sentence, "bold"))
    console.print(_table(frame), soft_wrap=False)
    console.print(f"page  {request.output or path}", markup=False)
    return 0


def _table(frame: pd.DataFrame) -> Table:
    """A row a run and moment."""
    from bench.analysis.gradient_flow import flow_numbers
    from bench.report.gradients import labelled
    from bench.report.numbers import known, number

    numbers = flow_numbers(labelled(frame))
    shown = [column for column in _COLUMNS if numbers[column[0]].notna().any()]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, title in enumerate(("cell", "weights", *(title for _, title, _ in shown))):
        table.add_column(title, justify="right" if place > 1 else "left")
    for row in numbers.to_dict("records"):
        cells = [number(row[name], digits) if known(row[name]) else "" for name, _, digits in shown]
        table.add_row(str(row["arm"]), _WEIGHTS[str(row["moment"])], *cells)
    return table
