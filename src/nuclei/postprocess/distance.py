"""Watershed on the distance to the background: for masks that come without border or distance maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nuclei.labelmap.flooding import flood
from nuclei.labelmap.map_arithmetic import local_maxima
from nuclei.labelmap.regions import squared_distances
from nuclei.postprocess.holes import fill_holes
from nuclei.postprocess.hysteresis import hysteresis
from nuclei.postprocess.watershed import smooth

QUARTERS = np.minimum(np.rint(4 * np.sqrt(np.arange(64**2 + 1))), 255).astype(np.uint8)
"""Quarter pixels by squared distance."""

TOLERANCE = 4
"""Quarter pixels: without it a ridge that is nearly level would hold many peaks, and be cut between them."""


@dataclass(frozen=True)
class DistanceWatershed:
    """Split the mask between the peaks of its distance transform.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.
        sigma: standard deviation in pixels of the smoothing of the distances.
        peak_distance: a marker is where the distance is at most a pixel less than anywhere within this many.
    """

    low: float
    high: float
    sigma: float
    peak_distance: int

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        mask = fill_holes(hysteresis(maps["nucleus"], self.low, self.high))
        score = smooth(distances(mask), self.sigma)
        return flood(score, local_maxima(score, mask, disc(self.peak_distance), TOLERANCE), mask)


def distances(mask: np.ndarray) -> np.ndarray:
    """Distance to the background in quarter pixels, uint8 (H, W): 255 stands for all from 63.75 pixels on."""
    return QUARTERS[squared_distances(mask, 64)]


def disc(radius: int) -> np.ndarray:
    """List the offsets within a disc but for its middle, the nearest first: int64 (k, 2).

    >>> disc(1).tolist()
    [[-1, 0], [0, -1], [0, 1], [1, 0]]
    """
    offsets = np.argwhere(np.ones((2 * radius + 1,) * 2)) - radius
    squared = (offsets**2).sum(axis=1)
    order = np.argsort(squared, kind="stable")
    return offsets[order[(squared[order] > 0) & (squared[order] <= radius**2)]]
