"""The same report as Markdown: tables, and links to the figures' files. Text of the document stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.report.document import Block, Cell, Commands, Document, Listing, Plot, Prose, Section, Table
from bench.report.names import file_name

# What Markdown, or HTML inside of it, could take for more than a character: anywhere, and where a text begins.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&!]|(?<=:)(?=//)|(?<=\bwww)\.)")
_AT_THE_START = re.compile(r"^([#+=-]|\d+(?=[.)]))")
_SHOWN = 60  # rows of a table; all of them are in its CSV file


def render_markdown(document: Document, footer: str) -> str:
    """The report as one Markdown text that ends with a line break."""
    answer, also = document.answer
    lines = [f"# {escaped(answer)}", "", *([escaped(also), ""] if also else []), escaped(document.certainty), ""]
    lines += [f"- {escaped(name)}: {escaped(value)}" for name, value in document.facts]
    if document.warnings:
        lines += ["", "## Read this first", "", *(f"- {escaped(warning)}" for warning in document.warnings)]
    for section in document.sections:
        lines += ["", *_section(section)]
    return "\n".join([*lines, "", escaped(footer), ""])


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line; addresses do not become links."""
    line = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return _AT_THE_START.sub(lambda found: f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}", line)


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.title)}"
    for block in section.blocks:
        yield ""
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Prose():
            yield f"**{escaped(block.text)}**" if block.strong else escaped(block.text)
        case Listing():
            yield from (f"- {escaped(item)}" for item in block.items)
        case Commands():
            yield from _fenced(block)
        case Table():
            yield from _table(block)
        case Plot():
            yield from _figure(block)


def _figure(plot: Plot) -> Iterator[str]:
    figure = plot.figure
    yield f"![{escaped(figure.description)}](figures/{file_name(figure.name)}.svg)"
    yield ""
    yield f"*{escaped(figure.title)}.* {escaped(figure.caption)}"
    source = plot.table.name if plot.table else plot.see
    if source:
        yield ""
        yield f"Its numbers: [{escaped(source)}.csv](tables/{file_name(source)}.csv)"


def _table(table: Table) -> Iterator[str]:
    link = f"[{escaped(table.name)}.csv](tables/{file_name(table.name)}.csv)"
    yield f"{escaped(table.caption)} ({len(table.rows)} rows: {link})"
    if table.folded:
        return
    yield ""
    yield _row(column.title for column in table.titles)
    yield "|" + "|".join("---:" if column.numeric else "---" for column in table.titles) + "|"
    yield from (_row(map(_words, row)) for row in table.visible[:_SHOWN])
    if len(table.rows) > _SHOWN:
        yield ""
        yield f"{len(table.rows) - _SHOWN} more rows are in the file."


def _row(cells: Iterator[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def _words(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _fenced(commands: Commands) -> Iterator[str]:
    longest = max((len(run) for line in commands.lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}sh"
    yield from commands.lines
    yield fence
