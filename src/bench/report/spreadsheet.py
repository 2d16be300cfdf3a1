"""Tables as CSV files: numbers as numbers, text as text even for a spreadsheet that looks for formulas."""

from __future__ import annotations

import csv
import io

from bench.report.document import Table, Value

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def render_csv(table: Table) -> str:
    """The whole table, one column a key."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_safe(key) for column in table.columns for key in column.keys])
    for row in table.rows:
        writer.writerow([_safe(value) for cell in row for value in cell.values])
    return stream.getvalue()


def _safe(value: Value) -> Value:
    """Text that a spreadsheet would compute is marked as text by an apostrophe."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
