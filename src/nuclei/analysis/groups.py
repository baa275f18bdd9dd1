"""The groups whose scores are told apart: fold, modality, image size, nucleus size, crowding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

DIAMETERS = (10, 15, 20, 30)
"""Ends of the bands of the median diameter of an image's nuclei, in pixels."""

CROWDED = (0.1, 0.3, 0.6)
"""Ends of the bands of the share of an image's nuclei that have a neighbour within two pixels."""


def diameters(labels: np.ndarray) -> np.ndarray:
    """Return the diameter of the disc of equal area for labels 1..N, float64 (N,), in pixels."""
    return np.sqrt(np.bincount(labels.ravel())[1:] * 4 / np.pi)


def crowding(labels: np.ndarray) -> float:
    """Return the share of nuclei that have another at most two pixels away: one of background between.

    0 without nuclei.

    >>> crowding(np.array([[1, 0, 0, 2, 0, 0, 0, 3]])), crowding(np.array([[1, 0, 2, 0, 0, 0, 0, 0]]))
    (0.0, 1.0)
    """
    values = labels.astype(np.float32)  # OpenCV's morphology has no int32; exact below 2**24
    square = np.ones((3, 3), np.uint8)
    highest = cv2.dilate(values, square)
    lowest = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), square)
    between = (highest > 0) & (lowest != highest)
    near = np.unique(np.concatenate([highest[between], lowest[between]]))
    return len(near) / max(1, len(np.unique(labels[labels > 0])))


def band(value: float, ends: Sequence[float], unit: str = "", scale: float = 1) -> str:
    """Name the band that a value lies in; the lower end belongs to it.

    >>> band(12, DIAMETERS, " px"), band(50, DIAMETERS, " px"), band(0.05, CROWDED, " %", 100)
    ('10 to 15 px', '30 px and more', 'under 10 %')
    """
    at = int(np.digitize(value, ends))
    texts = [f"{end * scale:g}" for end in ends]
    if at == 0:
        return f"under {texts[0]}{unit}"
    return f"{texts[at - 1]}{unit} and more" if at == len(ends) else f"{texts[at - 1]} to {texts[at]}{unit}"


def groupings(
    rows: Sequence[Mapping[str, Any]], median: Sequence[float], crowded: Sequence[float]
) -> dict[str, list[str]]:
    """Return for each way to group the images the name of each image's group.

    Args:
        rows: of the folds file.
        median: the median diameter of each image's nuclei, NaN for none.
        crowded: ``crowding`` of each image.
    """
    return {
        "Fold": [f"fold {row['fold']}" for row in rows],
        "Modality": [row["modality"] for row in rows],
        "Image size": [f"{row['height']}×{row['width']}" for row in rows],
        "Nucleus size (median diameter)": [
            "no nuclei" if np.isnan(d) else band(d, DIAMETERS, " px") for d in median
        ],
        "Crowding (nuclei with a neighbour within 2 px)": [band(c, CROWDED, " %", 100) for c in crowded],
    }


def order(name: str) -> tuple[float, str]:
    """Sort key of a group's name: bands and sizes by their numbers.

    >>> sorted(["30 px and more", "10 to 15 px", "under 10 px"], key=order)
    ['under 10 px', '10 to 15 px', '30 px and more']
    """
    numbers = "".join(c if c.isdigit() else " " for c in name).split()
    return (float(numbers[0]) if numbers else 0) - name.startswith("under"), name
