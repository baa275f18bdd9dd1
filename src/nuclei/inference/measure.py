"""Size, shape, brightness and class of nuclei, and a picture of their outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table
from skimage.segmentation import find_boundaries

MEASUREMENTS = {
    "label": "label",
    "area": "area",
    "centroid-0": "y",
    "centroid-1": "x",
    "intensity_mean": "mean_intensity",
    "perimeter": "perimeter",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
"""scikit-image's names of what is measured, and the names of the table's columns."""
CLASS_PREFIX = "class_"
"""How the names of maps of classes begin."""
ONLY_CLASS = "nucleus"
"""The class of all nuclei where no map tells classes apart."""


def measure(labels: np.ndarray, image: np.ndarray) -> pd.DataFrame:
    """Return a table with one line for each nucleus.

    Args:
        labels: ``int32 (H, W)``.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``; intensity is the mean of the colours.

    Returns:
        Columns as in ``MEASUREMENTS``; lengths in pixels, areas in square pixels, intensity in 0..255.
    """
    grey = image if image.ndim == 2 else image.mean(axis=2)
    properties = tuple(dict.fromkeys(name.split("-")[0] for name in MEASUREMENTS))
    return pd.DataFrame(regionprops_table(labels, grey, properties=properties)).rename(columns=MEASUREMENTS)


def outline(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return RGB ``uint8 (H, W, 3)`` of the image with the inner edge of each nucleus in yellow."""
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()
    rgb[find_boundaries(labels, mode="inner")] = (255, 220, 0)
    return rgb


def class_names(channels: Sequence[str]) -> list[str]:
    """Return the names of the classes that maps with these channels tell apart, at least one.

    >>> class_names(["nucleus", "class_epithelial", "class_other"]), class_names(["nucleus"])
    (['epithelial', 'other'], ['nucleus'])
    """
    return [c.removeprefix(CLASS_PREFIX) for c in channels if c.startswith(CLASS_PREFIX)] or [ONLY_CLASS]


def classify(labels: np.ndarray, maps: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Give each nucleus the class whose map is highest on average within it.

    Args:
        labels: ``int32 (H, W)``, 1..N.
        maps: ``uint8 (C, H, W)``.
        channels: names of the maps.

    Returns:
        ``int64 (N,)``: for nucleus n at n - 1 the index of its class in ``class_names``; the first of equals.
    """
    count = int(labels.max(initial=0))
    class_maps = [m for m, c in zip(maps, channels, strict=True) if c.startswith(CLASS_PREFIX)]
    if not class_maps:
        return np.zeros(count, np.int64)
    flat = labels.ravel()
    sums = [np.bincount(flat, m.ravel(), minlength=count + 1)[1:] for m in class_maps]
    return np.argmax(sums, axis=0)
