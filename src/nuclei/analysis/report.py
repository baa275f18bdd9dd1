"""One HTML file that holds everything: figures, pictures, tables, and the code that moves them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nuclei.analysis.confidence_intervals import Interval
from nuclei.analysis.pictures import COLOURS

HERE = Path(__file__).parent


def figure(value: float | int) -> str:
    """Write a number: whole ones as they are, others with three decimals, NaN as a dash.

    >>> figure(12), figure(0.12345), figure(float("nan"))
    ('12', '0.123', '–')
    """
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:z.3f}"


def ends(interval: Interval) -> str:
    """Write the ends of an interval, nothing where there are none.

    >>> ends(Interval(0.5, 0.4, 0.62))
    '[0.400, 0.620]'
    """
    return "" if math.isnan(interval.low) else f"[{interval.low:z.3f}, {interval.high:z.3f}]"


def embedded(drawn: go.Figure) -> dict[str, Any]:
    """Write a figure for a script element, which ends at the first ``</``."""
    return {"json": Markup(drawn.to_json().replace("</", "<\\/")), "height": drawn.layout.height}


def render(context: Mapping[str, Any], figures: Mapping[str, go.Figure]) -> str:
    """Fill the template.

    Args:
        context: what ``report.html.j2`` names; something missing is an error.
        figures: name to figure.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "ends": ends}
    environment.tests["interval"] = lambda value: isinstance(value, Interval)
    own = {
        name: Markup((HERE / f"report.{end}").read_text())
        for name, end in (("style", "css"), ("script", "js"))
    }
    drawn = {name: embedded(f) for name, f in figures.items()}
    plotly = Markup(get_plotlyjs())
    return environment.get_template("report.html.j2").render(
        **context, **own, figures=drawn, plotly=plotly, colours=COLOURS
    )
