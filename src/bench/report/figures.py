"""What a figure is, and how it leaves the program: a specification for the page, SVG and PNG files for everywhere else.

The figures themselves are built in `figures_forest.py` and `figures_seeds.py` (the verdict), `figures_cost.py`
(quality against what it costs), `figures_where.py` (where an arm does well) and `figures_across.py` (all tasks
together). All data are inside the specification; nothing is loaded.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from xml.sax.saxutils import quoteattr

import altair as alt
import vl_convert

from bench.report import theme
from bench.report.names import file_name

Chart = alt.LayerChart | alt.FacetChart
Spec = dict[str, object]
Row = dict[str, str | int | float | bool | None]

FILE_WIDTH = 820  # pixels of the files
_DATA = "rows"

# For the page: lays the panels of a specification out for a width in pixels, as `laid_out` does.
FIT_PANELS = """
function fitPanels(spec, width) {
  const panel = (spec.usermeta || {}).panel;
  if (!panel) return spec;
  const columns = Math.max(1, Math.min(panel.count, Math.floor(width / panel.least)));
  const inner = Math.floor(width / columns) - panel.around;
  const facet = {...spec.facet, header: {...spec.facet.header, labelLimit: inner}};
  return {...spec, columns, facet, spec: {...spec.spec, width: inner}};
}
"""


@dataclass(frozen=True)
class Figure:
    """A figure.

    name: of its files;  title: what is shown, with n;  caption: how to read it;  description: one sentence for those
    who do not see it;  chart: without title and colours, which the page and `save_svg_png` add;  rows: its data.
    """

    name: str
    title: str
    caption: str
    description: str
    chart: Chart
    rows: tuple[Row, ...]


def spec(figure: Figure) -> Spec:
    """The Vega-Lite specification for a page.

    It takes the width of its element (`width: container`); one with panels is first laid out by `FIT_PANELS`. It has no
    title (the page's heading is the title) and no colours: embed it with `config=theme.config("light" or "dark")`.
    """
    drawn = cast(Spec, figure.chart.to_dict(validate=False))  # the tests validate; it costs 0.1 s a figure
    drawn.pop("config", None)
    rows = [{name: _written(value) for name, value in row.items()} for row in figure.rows]
    return drawn | {"description": figure.description, "datasets": {_DATA: rows}}


def laid_out(drawn: Spec, width: int) -> Spec:
    """A specification at a fixed width in pixels."""
    panel = cast(Mapping[str, Mapping[str, int]], drawn.get("usermeta", {})).get("panel")
    if panel is None:
        return drawn | {"width": width}
    columns = max(1, min(panel["count"], width // panel["least"]))
    inner = width // columns - panel["around"]
    facet = cast(Spec, drawn["facet"])
    facet = facet | {"header": cast(Spec, facet["header"]) | {"labelLimit": inner}}
    return drawn | {"columns": columns, "facet": facet, "spec": cast(Spec, drawn["spec"]) | {"width": inner}}


def save_svg_png(figure: Figure, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.svg` and `<name>.png` (twice the pixels), title and caption included, on white."""
    drawn = laid_out(spec(figure), FILE_WIDTH)
    drawn["title"] = {
        "text": textwrap.wrap(figure.title, 92) or [""],
        "subtitle": textwrap.wrap(figure.caption, 124),
    }
    look = theme.config("light", background="white")
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name(figure.name)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    image = vl_convert.vegalite_to_svg(drawn, config=look, allowed_base_urls=[])
    image = image.replace("<svg ", f'<svg role="img" aria-label={quoteattr(figure.description)} ', 1)
    svg.write_text(image, encoding="utf-8")
    png.write_bytes(vl_convert.svg_to_png(image, scale=2))
    return svg, png


def layered(*marks: alt.Chart) -> alt.LayerChart:
    """Marks over the figure's rows, the first one lowest."""
    return alt.LayerChart(data=alt.NamedData(_DATA), layer=list(marks))


def single(chart: alt.LayerChart, height: int) -> alt.LayerChart:
    """One view that is as wide as the page."""
    return chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )


def _written(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """A value as the specification holds it: six digits, no NaN."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
