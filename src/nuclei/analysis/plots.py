"""The report's figures. Colours of ground, text and grid are the page's: it has a light and a dark look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from nuclei.analysis.calibration import curve
from nuclei.analysis.confidence_intervals import Interval, mean_interval
from nuclei.analysis.findings import Findings
from nuclei.analysis.pictures import COLOURS
from nuclei.analysis.tables import Table, correlation
from nuclei.metrics import THRESHOLDS

PALETTE = ("#0f8b8d", "#e07a1f", "#8a63d2", "#d1495b", "#4f9d3a", "#c09a2b", "#3d7ebf", "#b0578d")
IOU = [k / 20 for k in THRESHOLDS]


def figure(x: str, y: str, height: int = 380) -> go.Figure:
    """An empty figure with named axes."""
    empty = go.Figure()
    empty.update_layout(
        template=None,
        colorway=PALETTE,
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis_title=x,
        yaxis_title=y,
    )
    return empty


def error_bars(intervals: Sequence[Interval]) -> dict[str, object]:
    """The ends of intervals, as plotly wants them: relative to the means."""
    above = [i.high - i.mean for i in intervals]
    return {
        "array": above,
        "arrayminus": [i.mean - i.low for i in intervals],
        "color": "#888",
        "thickness": 1.2,
    }


def costs(lost: Table) -> go.Figure:
    """What mending each kind of error brings."""
    rows = sorted(lost.rows, key=lambda row: row[-1].mean)  # type: ignore[union-attr]
    gains = [row[-1] for row in rows]
    drawn = figure("mAP gained when mended", "", 320)
    drawn.add_bar(
        x=[gain.mean for gain in gains],  # type: ignore[union-attr]
        y=[row[0] for row in rows],
        orientation="h",
        error_x=error_bars(gains),  # type: ignore[arg-type]
        marker_color=[COLOURS.get(str(row[0]), COLOURS["match"]) for row in rows],
    )
    return drawn.update_layout(margin_l=120)


def by_threshold(curves: Mapping[str, np.ndarray], groups: Sequence[int]) -> go.Figure:
    """Mean precision over the IoU threshold; the first curve with its interval.

    Args:
        curves: name to float64 (images, 10).
        groups: of the first curve's images.
    """
    drawn = figure("IoU threshold", "precision")
    first = [mean_interval(column, groups) for column in next(iter(curves.values())).T]
    band = [*(i.high for i in first), *(i.low for i in reversed(first))]
    drawn.add_scatter(
        x=IOU + IOU[::-1],
        y=band,
        fill="toself",
        line_width=0,
        fillcolor="rgba(15,139,141,0.18)",
        name="95 % interval",
        hoverinfo="skip",
        mode="lines",
    )
    for n, (name, precision) in enumerate(curves.items()):
        line = {"color": PALETTE[n % len(PALETTE)], "width": 3 if n == 0 else 1.8}
        drawn.add_scatter(x=IOU, y=precision.mean(axis=0), name=name, mode="lines+markers", line=line)
    return drawn.update_yaxes(rangemode="tozero")


def groups_of(tables: Sequence[Table]) -> go.Figure:
    """The mAP of every group with its interval."""
    drawn = figure("mAP", "", 140 + 22 * sum(len(table.rows) for table in tables))
    for table in tables:
        scores = [row[-1] for row in table.rows]
        drawn.add_scatter(
            x=[score.mean for score in scores],  # type: ignore[union-attr]
            y=[str(row[0]) for row in table.rows],
            error_x=error_bars(scores),  # type: ignore[arg-type]
            mode="markers",
            marker_size=9,
            name=table.caption.split(" (")[0],
        )
    return drawn.update_layout(margin_l=120).update_yaxes(autorange="reversed", type="category")


def found_by_diameter(found: Sequence[Findings], width: float = 3.0) -> go.Figure:
    """The share of true nuclei that are found, over their diameter, and how many there are."""
    diameters = np.concatenate([f.diameters for f in found])
    best = np.concatenate([f.best_iou for f in found])
    bins = (diameters / width).astype(int)
    kept = [b for b in np.unique(bins) if (bins == b).sum() >= 10]
    middle = [(b + 0.5) * width for b in kept]
    drawn = figure("diameter of the nucleus in pixels", "share found")
    drawn.add_bar(
        x=middle,
        y=[int((bins == b).sum()) for b in kept],
        name="nuclei",
        yaxis="y2",
        marker_color="rgba(128,128,128,0.3)",
    )
    for least in (0.5, 0.75, 0.9):
        share = [(best[bins == b] > least).mean() for b in kept]
        drawn.add_scatter(x=middle, y=share, name=f"IoU over {least}", mode="lines+markers")
    axis = {"overlaying": "y", "side": "right", "title": {"text": "nuclei"}, "showgrid": False}
    return drawn.update_layout(yaxis2=axis, margin_r=70).update_layout(yaxis_range=[0, 1.02])


def correlations(scores: Mapping[str, np.ndarray]) -> go.Figure:
    """Pearson's correlations of the scores of the images, float64 (images,) each."""
    names = list(scores)
    values = [[correlation(one, other) for other in scores.values()] for one in scores.values()]
    drawn = figure("", "", 140 + 60 * len(names))
    drawn.add_heatmap(
        z=values,
        x=names,
        y=names,
        texttemplate="%{z:.3f}",
        colorscale="Teal",
        zmin=0,
        zmax=1,
        showscale=False,
    )
    return drawn.update_layout(margin_l=140).update_yaxes(autorange="reversed")


def one_against_other(names: Sequence[str], scores: Sequence[np.ndarray], hover: Sequence[str]) -> go.Figure:
    """Each image's score under two subjects: over the line the first is better."""
    drawn = figure(f"mAP of {names[1]}", f"mAP of {names[0]}", 480)
    line = {"color": "#888", "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    drawn.add_scatter(
        x=scores[1], y=scores[0], mode="markers", marker_opacity=0.6, text=hover, showlegend=False
    )
    return drawn


def calibration(tallied: np.ndarray, channels: Sequence[str]) -> go.Figure:
    """The mean truth over the predicted value, for each channel: float64 (C, 256, 2)."""
    drawn = figure("predicted", "true, on average", 420)
    line = {"color": "#888", "dash": "dot"}
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="as it should be", hoverinfo="skip")
    for name, of_channel in zip(channels, tallied, strict=True):
        said, true, pixels = curve(of_channel)
        drawn.add_scatter(
            x=said,
            y=true,
            name=name,
            mode="lines+markers",
            text=[f"{n:,.0f} pixels" for n in pixels],
        )
    return drawn
