"""Watersheds that split nuclei which touch, with markers from border, distance or offset maps or the mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.labelmap.flooding import flood, local_maxima, marker_score
from nuclei.labelmap.regions import squared_distances
from nuclei.postprocess.components import hysteresis_mask, uint8_threshold

QUARTERS = np.minimum(np.rint(4 * np.sqrt(np.arange(64**2 + 1))), 255).astype(np.uint8)
"""Distance in quarters of a pixel by squared distance in pixels."""

TOLERANCE = 4
"""Quarters of a pixel by which a neighbour may exceed a peak; without it a ridge would be cut to pieces."""


@dataclass(frozen=True)
class MapWatershed:
    """Split the mask of nuclei along the valleys of a score.

    The mask is the hysteresis threshold of ``nucleus`` with its holes filled. The score of a pixel is
    ``(1 - distance_weight) * (nucleus - border_weight * border) + distance_weight * distance``, cut to 0..1
    and smoothed; the regions of the mask with a score above ``marker_threshold`` are the markers. Without a
    ``border`` or ``distance`` channel the score lacks that term.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.
        border_weight: weight of ``border`` in the score, 0 or more.
        distance_weight: share of ``distance`` in the score, 0..1.
        marker_threshold: score above which a pixel belongs to a marker, 0..1.
        sigma: standard deviation of the smoothing in pixels; 0 for none.
    """

    low: float = 0.6
    high: float = 0.8
    border_weight: float = 0.5
    distance_weight: float = 0.5
    marker_threshold: float = 0.55
    sigma: float = 1.0

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        mask = hysteresis_mask(maps["nucleus"], self.low, self.high)
        score = smooth(self.score(maps), self.sigma)
        return flood(score, (score > uint8_threshold(self.marker_threshold)).view(np.uint8), mask)

    def score(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Blend the maps into the uint8 (H, W) score that rises towards the middle of each nucleus."""
        nucleus = maps["nucleus"]
        return marker_score(
            nucleus,
            maps.get("border", nucleus),
            maps.get("distance", nucleus),
            self.border_weight if "border" in maps else 0.0,
            self.distance_weight if "distance" in maps else 0.0,
        )


@dataclass(frozen=True)
class OffsetWatershed(MapWatershed):
    """Split as ``MapWatershed`` does, with the border map computed from ``offset_y`` and ``offset_x``.

    See ``offset_border``. Maps without offsets keep their own border.
    """

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        if {"offset_y", "offset_x"} <= maps.keys():
            maps = {**maps, "border": offset_border(maps["offset_y"], maps["offset_x"])}
        return super().__call__(maps)


@dataclass(frozen=True)
class DistanceWatershed:
    """Split the mask between the peaks of its distance transform; needs no map but ``nucleus``.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.
        sigma: standard deviation of the smoothing of the distances in pixels; 0 for none.
        peak_distance: radius in pixels within which no distance exceeds that of a marker by over a pixel.
    """

    low: float
    high: float
    sigma: float
    peak_distance: int

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        mask = hysteresis_mask(maps["nucleus"], self.low, self.high)
        score = smooth(mask_distances(mask), self.sigma)
        return flood(score, local_maxima(score, mask, disc_offsets(self.peak_distance), TOLERANCE), mask)


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a uint8 (H, W) image with a Gaussian; OpenCV's is exact in integers, so flips change nothing."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma > 0 else image


def offset_border(offset_y: np.ndarray, offset_x: np.ndarray) -> np.ndarray:
    """Return the border map that offsets imply, uint8 (H, W): how much they fall over about four pixels.

    Each offset rises from 0 to 1 across a nucleus, so it falls from 1 to 0, here 255, where two nuclei touch
    (compare HoVer-Net, Graham et al. 2019, section III.B).
    """
    y = cv2.Sobel(offset_y, cv2.CV_32F, 0, 1, ksize=5, scale=1 / 48)
    x = cv2.Sobel(offset_x, cv2.CV_32F, 1, 0, ksize=5, scale=1 / 48)
    return np.clip(np.rint(-2 * np.minimum(y, x)), 0, 255).astype(np.uint8)


def mask_distances(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the background in quarters of a pixel, uint8 (H, W), at most 255."""
    return QUARTERS[squared_distances(mask, 64)]


def disc_offsets(radius: int) -> np.ndarray:
    """Return the offsets within a disc except for its middle, the nearest first: int64 (k, 2).

    >>> disc_offsets(1).tolist()
    [[-1, 0], [0, -1], [0, 1], [1, 0]]
    """
    offsets = np.argwhere(np.ones((2 * radius + 1,) * 2)) - radius
    squared = (offsets**2).sum(axis=1)
    order = np.argsort(squared, kind="stable")
    return offsets[order[(squared[order] > 0) & (squared[order] <= radius**2)]]
