"""A report on disk: `index.html`, `report.md`, `figures/`, `tables/`, and the rows that it speaks of as Parquet.

Figures and tables that an earlier report left there go.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

import bench
from bench.errors import UserError
from bench.files import make_folder, without_home, write_atomically
from bench.report.document import Document
from bench.report.figures import Figure, save_svg_png
from bench.report.markdown import render_markdown
from bench.report.names import file_name
from bench.report.page import render_page
from bench.report.spreadsheet import render_csv

PAGE = "index.html"


def write_report(document: Document, rows: pd.DataFrame, folder: Path, rows_name: str = "runs.parquet") -> Path:
    """Write every format of a report and return the page's path. rows: the tidy table of runs;  rows_name: its file.

    Raises: `UserError` if the folder cannot be written to.
    """
    footer = f"Written by bench {bench.__version__} on {datetime.now(UTC):%d %B %Y, %H:%M} UTC."
    try:
        _prepare(folder)
        for figure in document.figures:
            _write_figure(figure, folder / "figures")
        for table in document.tables:
            _write_text(folder / "tables" / f"{file_name(table.name)}.csv", render_csv(table))
        public = rows.apply(_public)
        write_atomically(folder / rows_name, lambda path: public.to_parquet(path, index=False))
        _write_text(folder / "report.md", render_markdown(document, footer))
        _write_text(folder / PAGE, render_page(document, footer))
    except OSError as error:
        raise UserError(f"report: cannot write to {folder}: {error.strerror or error}") from None
    return folder / PAGE


def _prepare(folder: Path) -> None:
    """The folders, without the figures and tables of an earlier report, which this one may lack."""
    for name, endings in (("figures", (".svg", ".png")), ("tables", (".csv",))):
        make_folder(folder / name)
        for path in (folder / name).iterdir():
            if path.suffix in endings:
                path.unlink()


def _write_figure(figure: Figure, folder: Path) -> None:
    """Both files appear whole."""
    with TemporaryDirectory(dir=folder, prefix=".") as made:
        for path in save_svg_png(figure, Path(made)):
            path.replace(folder / f"{file_name(figure.name)}{path.suffix}")


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _public(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column with home folders written as `~`."""
    if is_numeric_dtype(column):
        return column
    texts = [value for value in column.to_numpy(object) if isinstance(value, str)]
    together = "\n".join(texts)
    if without_home(together) == together:
        return column
    return column.map(lambda value: without_home(value) if isinstance(value, str) else value)
