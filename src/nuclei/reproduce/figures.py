"""Loss curves and example images of a page."""

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

WIDTH = 320  # of each panel of an example, in pixels
WIDE = 30  # losses that vary more are drawn on a logarithmic axis
TEXT = 22  # height of the line above a panel


def curves(path: Path, logs: Mapping[str, Path]) -> None:
    """Draw the loss by epoch, in training and on held-out crops, of the ``metrics.csv`` of each system."""
    columns = min(3, len(logs))
    rows = -(-len(logs) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows), layout="constrained")
    for at, (title, log) in enumerate(logs.items(), 1):
        table = pd.read_csv(log)
        axes = figure.add_subplot(rows, columns, at)
        for name, label, style in (("loss", "training", "-"), ("val_loss", "held-out", "--")):
            axes.plot(
                table["epoch"] + 1, table[name], style, label=label, marker="." if len(table) < 9 else ""
            )
        losses = table[["loss", "val_loss"]].to_numpy()
        if np.nanmax(losses) > WIDE * np.nanmin(losses) > 0:
            axes.set_yscale("log")
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        if at == 1:
            axes.legend(fontsize=7)
            axes.set_xlabel("epoch", fontsize=7)
            axes.set_ylabel("loss", fontsize=7)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=100)


Example = tuple[np.ndarray, np.ndarray, np.ndarray]


def examples(path: Path, found: Sequence[Example], classes: Sequence[str]) -> None:
    """Draw rows of image, truth and prediction.

    Args:
        path: the JPEG file.
        found: image ``uint8 (H, W)`` or ``(H, W, 3)``; truth and prediction, integers ``(H, W)``: labels, or
            classes where there are some.
        classes: their names, background first; empty for labels.
    """
    rows = []
    for image, truth, predicted in found:
        ground = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        # The networks see stretched images, and dark fluorescence would be black on the page.
        low, high = np.percentile(ground, (0.5, 99.8))
        ground = (np.clip((ground - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
        panels = [ground, *(_drawn(ground, labels, bool(classes)) for labels in (truth, predicted))]
        rows.append([_panel(p, t) for p, t in zip(panels, ("image", "truth", "prediction"), strict=True)])
    lines = [np.hstack(row) for row in rows]
    if classes:
        lines.append(_legend(classes[1:], lines[0].shape[1]))
    sheet = np.vstack(lines)
    with atomic_write(path) as part:
        coded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
        part.write_bytes(coded.tobytes())


def colour(number: np.ndarray | int) -> np.ndarray:
    """The colour of a class, 1 and more; RGB."""
    return (np.asarray(colormaps["tab10"](np.asarray(number) - 1))[..., :3] * 255).astype(np.uint8)


def _drawn(ground: np.ndarray, labels: np.ndarray, classes: bool) -> np.ndarray:
    """Outlines of labels, or areas of classes, on the image."""
    if classes:
        tinted = np.where(labels[..., None] > 0, colour(np.maximum(labels, 1)), ground)
        return (0.35 * ground + 0.65 * tinted).astype(np.uint8)
    rim = find_boundaries(labels, mode="inner")
    return np.where(rim[..., None], np.array([255, 220, 0], np.uint8), ground)


def _panel(picture: np.ndarray, title: str) -> np.ndarray:
    """A picture of ``WIDTH`` pixels, the title above, white around it."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    enlarge = cv2.INTER_NEAREST if picture.shape[1] < WIDTH else cv2.INTER_AREA
    panel = np.full((height + TEXT + 6, WIDTH + 6, 3), 255, np.uint8)
    panel[TEXT : TEXT + height, :WIDTH] = cv2.resize(picture, (WIDTH, height), interpolation=enlarge)
    return cv2.putText(panel, title, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)


def _legend(classes: Sequence[str], width: int) -> np.ndarray:
    line, x = np.full((TEXT + 4, width, 3), 255, np.uint8), 4
    for number, name in enumerate(classes, 1):
        line[6:18, x : x + 12] = colour(number)
        cv2.putText(line, name, (x + 16, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
        x += 30 + 8 * len(name)
    return line
