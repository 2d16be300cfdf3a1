"""One look for every figure: colours, type, and the scales that give each arm its colour, its shape and its dash.

A chart's specification names styles (`margin`, `quiet`, …) and scales; the colours behind them are in `config`, which
is applied when the chart is drawn. So one specification serves the light and the dark page. Colours are those of Okabe
and Ito (2008), "Color universal design", told apart by colour-blind readers; shape and dash say the same a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import altair as alt

Theme = Literal["light", "dark"]
Config = dict[str, object]

_PALETTE: dict[Theme, list[str]] = {
    "light": ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9"],
    "dark": ["#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#FFFFFF", "#F0E442", "#D55E00"],
}
_TEXT: dict[Theme, str] = {"light": "#222222", "dark": "#E6E6E6"}
_QUIET: dict[Theme, str] = {"light": "#595959", "dark": "#ABABAB"}
_GRID: dict[Theme, str] = {"light": "#E3E3E3", "dark": "#3A3A3A"}
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right"]
_DASHES = [[1, 0], [7, 3], [2, 2], [10, 3, 2, 3], [4, 4], [1, 4], [12, 4]]
_NARROWEST = 340  # pixels that a legend may take on a phone


def config(theme: Theme = "light", background: str = "transparent") -> Config:
    """The Vega-Lite configuration of one theme: for `vegaEmbed(…, {config})` and for `vl_convert`."""
    text, quiet, grid = _TEXT[theme], _QUIET[theme], _GRID[theme]
    return {
        "background": background,
        "font": "sans-serif",
        "padding": 4,
        "view": {"stroke": None},
        # The description speaks for the chart: a screen reader need not visit every dot.
        "mark": {"aria": False, "color": text},
        "rule": {"color": text},
        "range": {"category": _PALETTE[theme], "symbol": _SHAPES},
        "axis": _axis(quiet, grid),
        "legend": {
            "orient": "top", "aria": False, "title": None, "labelColor": text, "labelFontSize": 12, "symbolSize": 90,
            "symbolStrokeWidth": 2, "offset": 8, "columnPadding": 14,
        },
        "header": {"title": None, "labelColor": text, "labelFontSize": 12, "labelAnchor": "start", "labelPadding": 4},
        "title": {
            "anchor": "start", "frame": "group", "color": text, "fontSize": 15, "subtitleColor": quiet,
            "subtitleFontSize": 12, "subtitlePadding": 5, "offset": 12,
        },
        "text": {"color": text, "fontSize": 12},
        "style": {
            "quiet": {"color": quiet, "stroke": quiet},
            "heading": {"fontWeight": "bold"},
            "margin": {"color": quiet, "fill": quiet, "opacity": 0.16},
            "edge": {"color": quiet, "stroke": quiet, "strokeDash": [4, 3], "strokeWidth": 1},
            "reference": {"color": quiet, "stroke": quiet, "strokeWidth": 1},
            "mean": {"color": text, "stroke": text},
        },
    }  # fmt: skip


def _axis(quiet: str, grid: str) -> Config:
    return {
        "aria": False, "labelColor": quiet, "titleColor": quiet, "gridColor": grid, "domainColor": grid,
        "tickColor": grid, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 150,
        "labelOverlap": "greedy", "labelFlush": True, "titlePadding": 6,
    }  # fmt: skip


@dataclass(frozen=True)
class Arms:
    """The arms of a figure.

    every: all of the study, in its order, so that an arm looks the same in every figure;  shown: those in this one.
    """

    every: tuple[str, ...]
    shown: tuple[str, ...]

    def colour(self, field: str = "arm", *, lines: bool = False) -> alt.Color:
        """An arm's colour, and the legend. lines: the legend shows lines (with `dash`), not points (with `shape`)."""
        return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(self.every)), legend=self._legend(lines))

    def shape(self, field: str = "arm", *, named: bool = True) -> alt.Shape:
        """An arm's shape. named: the legend shows it."""
        scale = alt.Scale(domain=self._domain(named))
        return alt.Shape(f"{field}:N", scale=scale, legend=self._legend(lines=False) if named else None)

    def dash(self, *, named: bool = True) -> alt.StrokeDash:
        """An arm's dash. named: the legend shows it."""
        domain = self._domain(named)
        scale = alt.Scale(domain=domain, range=[_DASHES[position % len(_DASHES)] for position in range(len(domain))])
        return alt.StrokeDash("arm:N", scale=scale, legend=self._legend(lines=True) if named else None)

    def _domain(self, named: bool) -> list[str]:
        """Vega-Lite merges the legends of scales of one domain, hidden ones too; one more entry keeps them apart."""
        return list(self.every) if named else [*self.every, ""]

    def _legend(self, lines: bool) -> alt.Legend:
        """A legend above the chart, in as many columns as a phone has room for."""
        widest = max((min(150, 6 * len(name)) for name in self.shown), default=40) + 34
        columns = max(1, min(len(self.shown), _NARROWEST // widest))
        legend = alt.Legend(title=None, values=list(self.shown), columns=columns, labelLimit=150, symbolOpacity=1)
        if lines:
            legend.symbolType, legend.symbolSize = "stroke", 500
        return legend


def shortened(text: str, longest: int = 28) -> str:
    """Text for a place that does not cut what is too long; the whole of it is in the tooltip."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
