"""One HTML file with everything inside: it opens from a disk, without a network, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from bench.errors import UserError
from bench.files import cache_root, write_atomically
from bench.report import theme
from bench.report.document import Cell, Document
from bench.report.figures import FIT_PANELS, spec
from bench.report.names import file_name

_HERE = Path(__file__).parent


def render_page(document: Document, footer: str) -> str:
    """The page. Text of the document appears as text, whatever it holds."""
    drawn = {figure.name: spec(figure) for figure in document.figures}
    themes = {"light": theme.config("light"), "dark": theme.config("dark")}
    script = "\n".join((_libraries(), FIT_PANELS, _read("tokens.js"), _read("page.js")))
    return _template().render(
        document=document,
        footer=footer,
        style=Markup(_read("style.css") + _read("tokens.css")),
        script=Markup(script),
        policy=_policy(script),
        specs=Markup(inline_json({"specs": drawn, "themes": themes})),
    )


def inline_json(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(script: str) -> str:
    """What the page may do: run the script of this very text, style itself, and show images that it holds."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _libraries() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which defines `window.vegaEmbed`; kept, for it takes seconds."""
    path = cache_root() / "page" / f"vega-embed-{version('vl-convert-python')}.js"
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(OSError, UserError):  # a cache that cannot be written to only costs time
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return text


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["file"] = file_name
    environment.filters["sortable"] = _sortable
    return environment.get_template("page.html.j2")


def _sortable(cell: Cell) -> str:
    """What a column is sorted by."""
    return "" if cell.values[0] is None else str(cell.values[0])
