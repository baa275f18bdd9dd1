"""Size, shape, brightness and class of nuclei, and a picture of their outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
INTENSITY = "intensity_mean"
LENGTHS = ("y", "x", "perimeter", "major_axis", "minor_axis")
"""Columns that are lengths."""
CLASS_PREFIX = "class_"
"""How the names of maps of classes begin."""
ONLY_CLASS = "nucleus"
"""The class of all nuclei where no map tells classes apart."""


def measure(
    labels: np.ndarray,
    image: np.ndarray,
    channels: Mapping[str, np.ndarray] | None = None,
    pixel_size: float | None = None,
) -> pd.DataFrame:
    """Return a table with one line for each nucleus.

    Args:
        labels: ``int32 (H, W)``.
        image: ``(H, W)`` or RGB ``(H, W, 3)``, as in the file; intensity is the mean of the colours.
        channels: ``(H, W)`` each, by name; each adds a column ``mean_intensity_NAME``.
        pixel_size: side of a pixel in µm; adds the columns of ``LENGTHS`` in µm and the area in µm².

    Returns:
        Columns as in ``MEASUREMENTS``; lengths in pixels, areas in square pixels, intensity in the
        unit of the image.
    """
    grey = image if image.ndim == 2 else image.mean(axis=2)
    properties = tuple(
        name for name in dict.fromkeys(n.split("-")[0] for n in MEASUREMENTS) if name != INTENSITY
    )
    table = pd.DataFrame(regionprops_table(labels, properties=properties)).rename(columns=MEASUREMENTS)
    table.insert(4, MEASUREMENTS[INTENSITY], mean_intensity(labels, table["label"], grey))
    for name, plane in (channels or {}).items():
        table[f"{MEASUREMENTS[INTENSITY]}_{name}"] = mean_intensity(labels, table["label"], plane)
    if pixel_size is not None:
        table["area_um2"] = table["area"] * pixel_size**2
        for name in LENGTHS:
            table[f"{name}_um"] = table[name] * pixel_size
    return table


def mean_intensity(labels: np.ndarray, numbers: np.ndarray | pd.Series, plane: np.ndarray) -> np.ndarray:
    """Return the mean of a plane ``(H, W)`` in each of the labels ``numbers``, of its finite pixels."""
    inside = np.flatnonzero(labels)
    values, flat = plane.reshape(-1)[inside].astype(np.float64), labels.reshape(-1)[inside]
    finite = np.isfinite(values)
    length = int(labels.max(initial=0)) + 1
    sums = np.bincount(flat[finite], values[finite], minlength=length)
    counts = np.bincount(flat[finite], minlength=length)
    means = np.divide(sums, counts, out=np.full(length, np.nan), where=counts > 0)
    return means[np.asarray(numbers, np.int64)]


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
