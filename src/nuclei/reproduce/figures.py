"""Draw the figures of a paper's page: loss curves and example images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from nuclei.atomic import atomic_write
from nuclei.data.preprocessing import stretch_contrast

WIDTH = 320  # of each panel of an example, in pixels
LOGARITHMIC = (
    30  # losses whose largest is more than this times their smallest are drawn on a logarithmic axis
)
TITLE_HEIGHT = 22  # of the line above a panel, in pixels

Example = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_curves(path: Path, logs: Mapping[str, Path]) -> None:
    """Draw the loss by epoch, on training crops and on held-out crops.

    Args:
        path: the PNG file.
        logs: ``metrics.csv`` of each system, by title; one or more.
    """
    columns = min(3, len(logs))
    rows = -(-len(logs) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows), layout="constrained")
    for n, (title, log) in enumerate(logs.items(), 1):
        table = pd.read_csv(log)
        axes = figure.add_subplot(rows, columns, n)
        marker = "." if len(table) < 9 else ""
        for name, label, style in (("loss", "training", "-"), ("val_loss", "held-out", "--")):
            axes.plot(table["epoch"] + 1, table[name], style, label=label, marker=marker)
        losses = table[["loss", "val_loss"]].to_numpy()
        if np.nanmax(losses) > LOGARITHMIC * np.nanmin(losses) > 0:
            axes.set_yscale("log")
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        if n == 1:
            axes.legend(fontsize=7)
            axes.set_xlabel("epoch", fontsize=7)
            axes.set_ylabel("loss", fontsize=7)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=100)


def draw_examples(path: Path, examples: Sequence[Example], classes: Sequence[str]) -> None:
    """Draw rows of image, truth and prediction.

    Args:
        path: the JPEG file.
        examples: image uint8 (H, W) or (H, W, 3), truth and prediction, integers (H, W): classes of pixels
            where there are ``classes``, else labels.
        classes: names of the classes, background first; empty for labels.
    """
    rows = []
    for image, *labels in examples:
        # The networks see stretched images too, and dark fluorescence would be black on the page.
        ground = stretch_contrast(image if image.ndim == 3 else np.repeat(image[..., None], 3, 2), high=99.8)
        overlay = _coloured if classes else _outlined
        panels = [ground, *(overlay(ground, values) for values in labels)]
        rows.append([_panel(p, t) for p, t in zip(panels, ("image", "truth", "prediction"), strict=True)])
    lines = [np.hstack(row) for row in rows]
    if classes:
        lines.append(_legend(classes[1:], lines[0].shape[1]))
    encoded = cv2.imencode(".jpg", np.vstack(lines)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    with atomic_write(path) as part:
        part.write_bytes(encoded.tobytes())


def class_colour(number: np.ndarray | int) -> np.ndarray:
    """Return the colour of a class, 1 and more, as RGB uint8."""
    return (np.asarray(colormaps["tab10"](np.asarray(number) - 1))[..., :3] * 255).astype(np.uint8)


def _coloured(ground: np.ndarray, classes: np.ndarray) -> np.ndarray:
    tinted = np.where(classes[..., None] > 0, class_colour(np.maximum(classes, 1)), ground)
    return (0.35 * ground + 0.65 * tinted).astype(np.uint8)


def _outlined(ground: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rim = find_boundaries(labels, mode="inner")
    return np.where(rim[..., None], np.array([255, 220, 0], np.uint8), ground)


def _panel(picture: np.ndarray, title: str) -> np.ndarray:
    """Return a picture of ``WIDTH`` pixels with a title above and a white margin."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    interpolation = cv2.INTER_NEAREST if picture.shape[1] < WIDTH else cv2.INTER_AREA
    panel = np.full((height + TITLE_HEIGHT + 6, WIDTH + 6, 3), 255, np.uint8)
    panel[TITLE_HEIGHT : TITLE_HEIGHT + height, :WIDTH] = cv2.resize(
        picture, (WIDTH, height), interpolation=interpolation
    )
    return cv2.putText(panel, title, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)


def _legend(classes: Sequence[str], width: int) -> np.ndarray:
    line, x = np.full((TITLE_HEIGHT + 4, width, 3), 255, np.uint8), 4
    for number, name in enumerate(classes, 1):
        line[6:18, x : x + 12] = class_colour(number)
        cv2.putText(line, name, (x + 16, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
        x += 30 + 8 * len(name)
    return line
