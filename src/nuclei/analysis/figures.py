"""Draw the report's figures: plots, and images with outlines as layers that can be hidden.

The page sets the colours of a plot's ground, text and grid, for light and for dark.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageColor
from plotly.subplots import make_subplots
from skimage.segmentation import find_boundaries

from nuclei.analysis.error_types import Errors, find_errors
from nuclei.analysis.image_analysis import Findings, Subject, Suspect
from nuclei.analysis.score_statistics import Interval, calibration_curve, correlation, mean_interval
from nuclei.analysis.tables import Table
from nuclei.data.preprocessing import stretch_contrast
from nuclei.data.store import Store
from nuclei.metrics import THRESHOLDS

PALETTE = ("#0f8b8d", "#e07a1f", "#8a63d2", "#d1495b", "#4f9d3a", "#c09a2b", "#3d7ebf", "#b0578d")
IOU = [k / 20 for k in THRESHOLDS]
DOTTED = {"color": "#888", "dash": "dot"}
COLOURS = {
    "match": "#2ecc40",
    "merge": "#ff9500",
    "split": "#ff3df2",
    "wrong outline": "#ffe600",
    "miss": "#2f9bff",
    "false find": "#ff3030",
}
"""Colours of the outlines: of predicted nuclei by their error, and of missed nuclei."""

SIDE = 720
"""Greatest side of a picture in the report, in pixels; smaller images are enlarged by a whole number."""

WINDOW = 96
"""Side of the window around an annotation that looks wrong, in pixels."""

Window = tuple[slice, slice]
WHOLE_IMAGE: Window = (slice(None), slice(None))


def empty_plot(x: str, y: str, height: int = 380) -> go.Figure:
    """Return a plot with named axes and nothing else."""
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    layout = {"margin": {"l": 60, "r": 20, "t": 20, "b": 50}, "legend": legend, "height": height}
    axes = {"xaxis_title": x, "yaxis_title": y}
    return go.Figure().update_layout(template=None, colorway=PALETTE, **layout, **axes)


def error_bars(intervals: Sequence[Interval]) -> dict[str, object]:
    """Return intervals in plotly's form: relative to the means."""
    return {
        "array": [i.high - i.mean for i in intervals],
        "arrayminus": [i.mean - i.low for i in intervals],
        "color": "#888",
        "thickness": 1.2,
    }


def error_costs(table: Table) -> go.Figure:
    """Plot the mAP that mending each type of error gains, from the table of the same name."""
    gains = dict(sorted(table.intervals.items(), key=lambda item: item[1].mean))
    plot = empty_plot("mAP gained when mended", "", 320)
    means, bars = [gain.mean for gain in gains.values()], error_bars(list(gains.values()))
    colours = [COLOURS.get(error_type, COLOURS["match"]) for error_type in gains]
    plot.add_bar(x=means, y=list(gains), orientation="h", error_x=bars, marker_color=colours)
    return plot.update_layout(margin_l=120)


def precision_by_threshold(curves: Mapping[str, np.ndarray], groups: Sequence[int]) -> go.Figure:
    """Plot mean precision, float64 (images, 10), over the IoU threshold; the first has an interval."""
    plot = empty_plot("IoU threshold", "precision")
    intervals = [mean_interval(column, groups) for column in next(iter(curves.values())).T]
    outline = [*(i.high for i in intervals), *(i.low for i in reversed(intervals))]
    area = {"fill": "toself", "fillcolor": "rgba(15,139,141,0.18)", "line_width": 0, "hoverinfo": "skip"}
    plot.add_scatter(x=IOU + IOU[::-1], y=outline, name="95 % interval", mode="lines", **area)
    for n, (name, precision) in enumerate(curves.items()):
        line = {"color": PALETTE[n % len(PALETTE)], "width": 3 if n == 0 else 1.8}
        plot.add_scatter(x=IOU, y=precision.mean(axis=0), name=name, mode="lines+markers", line=line)
    return plot.update_yaxes(rangemode="tozero")


def group_scores(tables: Sequence[Table]) -> go.Figure:
    """Plot the mAP of every group of images with its interval, from the tables of the same name."""
    plot = empty_plot("mAP", "", 140 + 22 * sum(len(table.rows) for table in tables))
    for table in tables:
        names, scores = list(table.intervals), list(table.intervals.values())
        points = {"mode": "markers", "marker_size": 9, "name": table.caption.split(" (")[0]}
        plot.add_scatter(x=[s.mean for s in scores], y=names, error_x=error_bars(scores), **points)
    return plot.update_layout(margin_l=120).update_yaxes(autorange="reversed", type="category")


def recall_by_diameter(findings: Sequence[Findings], width: float = 3.0) -> go.Figure:
    """Plot the share of true nuclei that are found and their number over the diameter.

    Bins are ``width`` pixels wide; those of fewer than ten nuclei are left out.
    """
    best_iou = np.concatenate([f.best_iou for f in findings])
    bins = (np.concatenate([f.diameters for f in findings]) / width).astype(int)
    counts = {int(b): int(n) for b, n in zip(*np.unique(bins, return_counts=True), strict=True) if n >= 10}
    centres = [(b + 0.5) * width for b in counts]
    plot = empty_plot("diameter of the nucleus in pixels", "share found")
    grey = "rgba(128,128,128,0.3)"
    plot.add_bar(x=centres, y=list(counts.values()), name="nuclei", yaxis="y2", marker_color=grey)
    for threshold in (0.5, 0.75, 0.9):
        share = [(best_iou[bins == b] > threshold).mean() for b in counts]
        plot.add_scatter(x=centres, y=share, name=f"IoU over {threshold}", mode="lines+markers")
    axis = {"overlaying": "y", "side": "right", "title": {"text": "nuclei"}, "showgrid": False}
    return plot.update_layout(yaxis2=axis, margin_r=70, yaxis_range=[0, 1.02])


def correlations(scores: Mapping[str, np.ndarray]) -> go.Figure:
    """Plot Pearson's correlations of the images' scores, float64 (images,) by name."""
    names = list(scores)
    plot = empty_plot("", "", 140 + 60 * len(names))
    z = [[correlation(a, b) for b in scores.values()] for a in scores.values()]
    colours = {"colorscale": "Teal", "zmin": 0, "zmax": 1, "showscale": False}
    plot.add_heatmap(z=z, x=names, y=names, texttemplate="%{z:.3f}", **colours)
    return plot.update_layout(margin_l=140).update_yaxes(autorange="reversed")


def paired_scores(names: Sequence[str], scores: Sequence[np.ndarray], image_ids: Sequence[str]) -> go.Figure:
    """Plot each image's score under two subjects: above the diagonal the first one is better."""
    plot = empty_plot(f"mAP of {names[1]}", f"mAP of {names[0]}", 480)
    plot.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=DOTTED, hoverinfo="skip", showlegend=False)
    points = {"mode": "markers", "marker_opacity": 0.6, "text": image_ids, "showlegend": False}
    return plot.add_scatter(x=scores[1], y=scores[0], **points)


def calibration(counts: np.ndarray, channels: Sequence[str]) -> go.Figure:
    """Plot the mean target over the predicted value, for each channel.

    ``counts`` is float64 (C, 256, 2): ``score_statistics.calibration_counts`` summed over images.
    """
    plot = empty_plot("predicted", "true, on average", 420)
    diagonal = {"mode": "lines", "line": DOTTED, "name": "as it should be", "hoverinfo": "skip"}
    plot.add_scatter(x=[0, 1], y=[0, 1], **diagonal)
    for name, channel_counts in zip(channels, counts, strict=True):
        predicted, target, pixels = calibration_curve(channel_counts)
        text = [f"{n:,.0f} pixels" for n in pixels]
        plot.add_scatter(x=predicted, y=target, name=name, mode="lines+markers", text=text)
    return plot


def training_logs(subjects: Sequence[Subject]) -> dict[str, dict[str, Path]]:
    """Return the ``metrics.csv`` of each run by fold; runs without training, such as Otsu's, have none."""
    logs: dict[str, dict[str, Path]] = {}
    for member in (member for subject in subjects for member in subject.members):
        folders = sorted({path.parent for path in member.files.values()})
        files = {folder.name: folder / "metrics.csv" for folder in folders}
        logs[member.name] = {fold: file for fold, file in files.items() if file.is_file()}
    return logs


def training_curves(logs: Mapping[str, Mapping[str, Path]]) -> go.Figure:
    """Plot the loss and, where measured, the validation score by epoch, from each fold's ``metrics.csv``."""
    folds = [(run, fold, pd.read_csv(path)) for run, files in logs.items() for fold, path in files.items()]
    scored = any(log["mAP"].notna().any() for _, _, log in folds)
    columns = ("loss", "mAP") if scored else ("loss",)
    plot = make_subplots(rows=1, cols=len(columns), subplot_titles=columns if scored else None)
    plot.update_layout(empty_plot("", "").layout)
    colours = {run: PALETTE[n % len(PALETTE)] for n, run in enumerate(logs)}
    for n, (run, fold, log) in enumerate(folds):
        for column, name in enumerate(columns, 1):
            first = column == 1 and run not in [run for run, _, _ in folds[:n]]
            legend = {"name": run, "legendgroup": run, "showlegend": first, "hovertext": f"{run} {fold}"}
            values = log.set_index("epoch")[name].dropna()
            line = {"x": values.index, "y": values, "line_color": colours[run], "opacity": 0.75}
            plot.add_scatter(**line, **legend, row=1, col=column)
    return plot.update_xaxes(title_text="epoch").update_yaxes(title_text="training loss", col=1)


@dataclass(frozen=True)
class Picture:
    """Three layers of one size in pixels, as data URIs of WebP images.

    The image with its contrast stretched; dashed outlines of the true nuclei on a transparent ground, in a
    colour where missed; and outlines of the predicted nuclei in the colours of ``COLOURS``.
    """

    width: int
    height: int
    image: str
    truth: str
    prediction: str


@dataclass(frozen=True)
class Card:
    """A picture with the title of its dialog, a few words in bold, and a line of text."""

    title: str
    head: str
    text: str
    picture: Picture


def best_and_worst(findings: Sequence[Findings], number: int) -> tuple[list[Findings], list[Findings]]:
    """Return the images with the highest and with the lowest score, no image in both lists.

    Of equal scores the image with more nuclei comes first, because it shows more.
    """
    ascending = sorted(findings, key=lambda f: (f.precision.mean(), -f.nuclei[0]))
    descending = sorted(findings, key=lambda f: (-f.precision.mean(), -f.nuclei[0]))
    half = min(number, len(findings) // 2)
    worst = ascending[: min(number, len(findings) - half)]
    worst_ids = {f.image_id for f in worst}
    return [f for f in descending if f.image_id not in worst_ids][:half], worst


def image_card(store: Store, subject: Subject, findings: Findings) -> Card:
    """Draw an image with its score and its number of errors."""
    truth, prediction = store.labels(findings.image_id), subject.labels(findings.image_id)
    picture = draw(store.image(findings.image_id), truth, prediction, find_errors(truth, prediction))
    nuclei = f"{findings.nuclei[0]} true, {findings.nuclei[1]} predicted"
    errors = [f"{n} × {t}" for t, n in findings.counts.items() if n and t != "inexact outline"]
    return Card(findings.image_id, f"{findings.precision.mean():.3f}", ", ".join([nuclei, *errors]), picture)


def suspect_cards(store: Store, subject: Subject, suspects: Sequence[Suspect]) -> list[Card]:
    """Draw the surroundings of annotations that look wrong; each image is segmented once."""
    cards: dict[Suspect, Card] = {}
    for image_id in dict.fromkeys(s.image_id for s in suspects):
        image, truth, prediction = store.image(image_id), store.labels(image_id), subject.labels(image_id)
        errors = find_errors(truth, prediction)
        for s in (s for s in suspects if s.image_id == image_id):
            window = window_around(s.y, s.x, truth.shape)
            picture = draw(image, truth, prediction, errors, 2 * WINDOW, window)
            text = f"{s.error_type}, {s.area} px at ({s.x}, {s.y})"
            cards[s] = Card(image_id, f"{s.suspicion:.2f}", text, picture)
    return [cards[s] for s in suspects]


def draw(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    errors: Errors,
    side: int = SIDE,
    window: Window = WHOLE_IMAGE,
) -> Picture:
    """Draw a window of an image, uint8 (H, W) or (H, W, 3), and the outlines of its nuclei, integers (H, W).

    The errors of the prediction choose the colours; ``side`` is the greatest side of the picture.
    """
    colours = _label_colours(errors, int(prediction.max(initial=0)))
    image, truth, prediction = image[window], truth[window], prediction[window]
    factor = max(1, side // max(truth.shape))
    size = (truth.shape[1] * factor, truth.shape[0] * factor)
    ground = Image.fromarray(stretch_contrast(image, high=99.8)).convert("RGB")
    ground = ground.resize(size, Image.Resampling.BICUBIC)
    truth, prediction = (np.repeat(np.repeat(a, factor, 0), factor, 1) for a in (truth, prediction))
    dashes = np.where(np.add(*np.indices(truth.shape)) // 4 % 2, 255, 0).astype(np.uint8)
    missed = np.isin(truth, errors.misses)
    layers = (
        _outlines(truth, np.where(missed[..., None], _rgb("miss"), dashes[..., None])),
        _outlines(prediction, colours[prediction]),
    )
    return Picture(*size, _webp(ground, quality=82), *(_webp(layer, lossless=True) for layer in layers))


def window_around(y: int, x: int, shape: tuple[int, ...], side: int = WINDOW) -> Window:
    """Return the window of at most ``side`` pixels around a point, inside an image of a shape (H, W)."""
    top, left = (
        min(max(0, centre - side // 2), max(0, n - side)) for centre, n in zip((y, x), shape[:2], strict=True)
    )
    return slice(top, top + side), slice(left, left + side)


def _label_colours(errors: Errors, n: int) -> np.ndarray:
    """Return the colour of each predicted nucleus, uint8 (n + 1, 3)."""
    colours = np.tile(_rgb("match"), (n + 1, 1))
    colours[[p for pieces in errors.splits.values() for p in pieces]] = _rgb("split")
    colours[list(errors.merges)] = _rgb("merge")
    colours[[p for _, p in errors.wrong]] = _rgb("wrong outline")
    colours[errors.false_finds] = _rgb("false find")
    return colours


def _rgb(error_type: str) -> np.ndarray:
    return np.array(ImageColor.getrgb(COLOURS[error_type]), np.uint8)


def _outlines(labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Draw outlines of labels, two pixels wide, in the colours uint8 (H, W, 3)."""
    rim = find_boundaries(labels, mode="inner", connectivity=2)
    inner = find_boundaries(np.where(rim, 0, labels), mode="inner", connectivity=2)
    layer = np.zeros((*labels.shape, 4), np.uint8)
    layer[rim | inner, 3] = 255
    layer[..., :3] = np.where(layer[..., 3:] > 0, colours, 0)
    return Image.fromarray(layer)


def _webp(image: Image.Image, **options: object) -> str:
    out = io.BytesIO()
    image.save(out, "webp", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
