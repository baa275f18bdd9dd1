"""What can be measured of nuclei, and a picture of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table
from skimage.segmentation import find_boundaries

COLUMNS = {
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
PROPERTIES = tuple(dict.fromkeys(name.split("-")[0] for name in COLUMNS))


def measure(labels: np.ndarray, image: np.ndarray) -> pd.DataFrame:
    """One row for each nucleus: number, area, centroid, mean intensity, shape (scikit-image's properties).

    Args:
        labels: ``int32 (H, W)``.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``; intensity is the mean of the colours.

    Returns:
        Lengths in pixels, areas in square pixels, intensity in 0..255.
    """
    grey = image if image.ndim == 2 else image.mean(axis=2)
    return pd.DataFrame(regionprops_table(labels, grey, properties=PROPERTIES)).rename(columns=COLUMNS)


def outline(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """RGB ``uint8 (H, W, 3)`` of the image with the inner edge of each nucleus in yellow."""
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()
    rgb[find_boundaries(labels, mode="inner")] = (255, 220, 0)
    return rgb
