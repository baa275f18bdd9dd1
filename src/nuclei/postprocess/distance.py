"""Watershed on the distance to the background: for masks that come without border or distance maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.postprocess.holes import fill_holes
from nuclei.postprocess.hysteresis import hysteresis
from nuclei.postprocess.watershed import flood, smooth


@dataclass(frozen=True)
class DistanceWatershed:
    """Split the mask between the peaks of its distance transform.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.
        sigma: standard deviation in pixels of the smoothing of the distances.
        peak_distance: a marker is a pixel whose distance no other within this many pixels exceeds.
    """

    low: float
    high: float
    sigma: float
    peak_distance: int

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        mask = fill_holes(hysteresis(maps["nucleus"], self.low, self.high))
        score = smooth(distances(mask), self.sigma)
        highest = cv2.dilate(score, disc(self.peak_distance))
        return flood(score, (score == highest).view(np.uint8), mask)


def distances(mask: np.ndarray) -> np.ndarray:
    """Distance to the background in quarter pixels, uint8 (H, W): 255 stands for all from 63.75 pixels on."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.minimum(np.rint(distance * 4), 255).astype(np.uint8)


def disc(radius: int) -> np.ndarray:
    """Draw a disc, uint8 (2 * radius + 1,) * 2; OpenCV's own is not the same when transposed.

    >>> disc(1)
    array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=uint8)
    """
    across = np.arange(-radius, radius + 1) ** 2
    return (across[:, None] + across <= radius**2).astype(np.uint8)
