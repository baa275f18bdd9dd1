"""Draw the figures of a paper's page: curves of the training, examples, and a confusion of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from nuclei.atomic import atomic_write
from nuclei.data.preprocessing import stretch_contrast

WIDTH = 320  # of each panel of an example, in pixels
LOGARITHMIC = 30  # losses that differ by more than this factor are drawn on a logarithmic axis
TITLE_HEIGHT = 22  # of the line above a panel, in pixels

Example = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_curves(path: Path, logs: Mapping[str, Path]) -> None:
    """Draw what ``metrics.csv`` says of each epoch, by system.

    Two panels for each: the loss on training and on held-out crops, and the accuracy and the IoU of pixels of
    the held-out crops.
    """
    systems_in_line = min(2, len(logs))
    lines = -(-len(logs) // systems_in_line)
    figure = Figure(figsize=(6.4 * systems_in_line, 2.3 * lines), layout="constrained")
    for n, (title, log) in enumerate(logs.items()):
        table = pd.read_csv(log)
        left, right = (
            figure.add_subplot(lines, 2 * systems_in_line, 2 * n + side, xlabel="epoch") for side in (1, 2)
        )
        _plot(left, table, {"loss": "training", "val_loss": "held-out"})
        left.set_title(title, fontsize=8, loc="left")
        left.set_ylabel("loss", fontsize=7)
        losses = table[["loss", "val_loss"]].to_numpy()
        if np.nanmax(losses) > LOGARITHMIC * np.nanmin(losses) > 0:
            left.set_yscale("log")
        _plot(right, table, {"val_accuracy": "accuracy", "val_iou": "IoU"})
        right.set_ylabel("pixels, held-out", fontsize=7)
        right.set_ylim(0, 1)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=100)


def _plot(axes: Axes, table: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Draw columns of a table by epoch, the first as a line and the second dashed."""
    marker = "." if len(table) < 9 else ""
    for (name, label), style in zip(columns.items(), ("-", "--"), strict=True):
        axes.plot(table["epoch"] + 1, table[name], style, label=label, marker=marker)
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(7)
    axes.legend(fontsize=7)


def draw_confusion(path: Path, title: str, confusion: np.ndarray, classes: Sequence[str]) -> None:
    """Draw a confusion of pixel classes, int64 (n, n), each true class as shares of its pixels."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 1.6 + 0.55 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="predicted", ylabel="true")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90)
    axes.set_yticks(ticks, classes)
    for true in ticks:
        for predicted in ticks:
            share = shares[true, predicted]
            colour = "white" if share > 0.5 else "black"
            axes.text(predicted, true, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=7)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=100)


def draw_examples(path: Path, examples: Sequence[Example], classes: Sequence[str]) -> None:
    """Draw rows of image, truth and prediction.

    An image is uint8 (H, W) or (H, W, 3), the others integers (H, W): classes of pixels where there are
    ``classes``, background first, else labels.
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
