"""Statistics of a report: confidence intervals, groups of images, calibration of the maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.stats import bootstrap
from tabulate import tabulate

from nuclei.data.folds import FoldRow
from nuclei.data.targets import targets
from nuclei.metrics import equivalent_diameter

DIAMETERS = (10, 15, 20, 30)
"""Limits of the bands of the median diameter of an image's nuclei, in pixels."""

CROWDING = (0.1, 0.3, 0.6)
"""Limits of the bands of the share of an image's nuclei that have a neighbour within two pixels."""

BINS = 20
"""Number of bins of a calibration curve."""


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval; both limits are NaN where there is only one group."""

    mean: float
    low: float
    high: float

    @property
    def limits(self) -> str:
        """Both limits as text, empty where they are NaN.

        >>> Interval(0.5, 0.4, 0.62).limits
        '[0.400, 0.620]'
        """
        return "" if math.isnan(self.low) else f"[{self.low:z.3f}, {self.high:z.3f}]"


def mean_interval(values: np.ndarray, groups: Sequence[object] | np.ndarray) -> Interval:
    """Return the mean over images, float (n,), and its percentile bootstrap interval.

    Groups of the folds file are resampled and not images, because tiles of one picture are not independent.
    The differences of two runs' scores, image by image, give the paired interval.

    >>> mean_interval(np.array([0.5, 0.5, 0.5]), [1, 1, 2])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    _, group_index = np.unique(np.asarray(groups, str), return_inverse=True)
    sums, sizes = np.bincount(group_index, values), np.bincount(group_index).astype(float)
    mean = float(np.mean(values))
    if len(sums) < 2:
        return Interval(mean, math.nan, math.nan)
    interval = bootstrap(
        (sums, sizes),
        lambda a, n, axis: a.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=0,
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one of the two does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if min(np.ptp(a), np.ptp(b)) > 0 else math.nan


def diameters(labels: np.ndarray) -> np.ndarray:
    """Return the diameter of the disc of equal area for labels 1..N, float64 (N,), in pixels."""
    return equivalent_diameter(np.bincount(labels.ravel())[1:])


def crowding(labels: np.ndarray) -> float:
    """Return the share of nuclei that are at most one pixel of background away from another one.

    An empty label map gives 0.

    >>> crowding(np.array([[1, 0, 0, 2, 0, 0, 0, 3]])), crowding(np.array([[1, 0, 2, 0, 0, 0, 0, 0]]))
    (0.0, 1.0)
    """
    values = labels.astype(np.float32)  # OpenCV's morphology has no int32; exact below 2**24
    square = np.ones((3, 3), np.uint8)
    highest = cv2.dilate(values, square)
    lowest = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), square)
    between = (highest > 0) & (lowest != highest)
    close = np.unique(np.concatenate([highest[between], lowest[between]]))
    return len(close) / max(1, len(np.unique(labels[labels > 0])))


def band(value: float, limits: Sequence[float], unit: str = "", scale: float = 1) -> str:
    """Name the band that a value lies in; a band includes its lower limit.

    >>> band(12, DIAMETERS, " px"), band(50, DIAMETERS, " px"), band(0.05, CROWDING, " %", 100)
    ('10 to 15 px', '30 px and more', 'under 10 %')
    """
    index = int(np.digitize(value, limits))
    texts = [f"{limit * scale:g}" for limit in limits]
    if index == 0:
        return f"under {texts[0]}{unit}"
    if index == len(limits):
        return f"{texts[-1]}{unit} and more"
    return f"{texts[index - 1]} to {texts[index]}{unit}"


def group_images(
    rows: Sequence[FoldRow], median_diameters: Sequence[float], crowdings: Sequence[float]
) -> dict[str, list[str]]:
    """Return the group of each image, for each way to group the images.

    A median diameter, in pixels, is NaN where an image has no nuclei; for ``crowdings`` see ``crowding``.
    """
    return {
        "Fold": [f"fold {row.fold}" for row in rows],
        "Modality": [row.modality for row in rows],
        "Image size": [f"{row.height}×{row.width}" for row in rows],
        "Nucleus size (median diameter)": [
            "no nuclei" if math.isnan(d) else band(d, DIAMETERS, " px") for d in median_diameters
        ],
        "Crowding (nuclei with a neighbour within 2 px)": [
            band(share, CROWDING, " %", 100) for share in crowdings
        ],
    }


def group_order(name: str) -> tuple[float, str]:
    """Return the sort key of a group's name: bands and sizes sort by their numbers.

    >>> sorted(["30 px and more", "10 to 15 px", "under 10 px"], key=group_order)
    ['under 10 px', '10 to 15 px', '30 px and more']
    """
    numbers = "".join(c if c.isdigit() else " " for c in name).split()
    return (float(numbers[0]) if numbers else 0) - name.startswith("under"), name


def calibration_counts(maps: np.ndarray, channels: Sequence[str], truth: np.ndarray) -> np.ndarray:
    """Count pixels by predicted value, and sum their targets: float64 (C, 256, 2).

    The maps are uint8 (C, H, W), named as in ``nuclei.data.targets``; the truth is integers (H, W).
    """
    return np.stack(
        [
            np.stack([np.bincount(m.ravel(), w, minlength=256) for w in (None, target.ravel())], axis=1)
            for m, target in zip(maps, targets(truth, channels), strict=True)
        ]
    )


def calibration_curve(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean prediction, mean target and pixels of each of ``BINS`` bins that is not empty.

    ``counts`` is float64 (256, 2): one channel of ``calibration_counts``, summed over images.
    """
    pixels, target_sums = counts.T
    bins = np.arange(256) * BINS // 256
    n, predicted, target = (
        np.bincount(bins, w) for w in (pixels, pixels * np.arange(256) / 255, target_sums)
    )
    occupied = n > 0
    return predicted[occupied] / n[occupied], target[occupied] / n[occupied], n[occupied]


def calibration_error(counts: np.ndarray) -> float:
    """Return the expected calibration error: the curve's mean distance from the diagonal, over pixels.

    >>> counts = np.zeros((256, 2)); counts[255] = 100, 75
    >>> calibration_error(counts)
    0.25
    """
    predicted, target, n = calibration_curve(counts)
    return float(np.abs(predicted - target) @ n / n.sum())


def precision_by_diameter(truths: Sequence[np.ndarray], precision: np.ndarray) -> str:
    """Return a table to print: mAP by the median diameter of an image's nuclei.

    ``precision`` is float64 (images, 10), at the metric's thresholds.
    """
    medians = [float(np.median(diameters(truth))) if truth.any() else 0.0 for truth in truths]
    bands = np.array([band(median, DIAMETERS, " px") for median in medians])
    rows = []
    for name in sorted(set(bands), key=group_order):
        images = bands == name
        rows.append([name, int(images.sum()), precision[images].mean()])
    heads = ["median diameter of an image's nuclei", "images", "mAP"]
    return tabulate(rows, heads, tablefmt="plain", floatfmt=".3f")
