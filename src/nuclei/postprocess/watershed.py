"""Watershed from markers that the network's maps give: nucleus minus border, and distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import watershed

from nuclei.postprocess.holes import fill_holes
from nuclei.postprocess.hysteresis import cut, hysteresis


@dataclass(frozen=True)
class MapWatershed:
    """Split the mask of nuclei along the valleys between markers.

    The mask is the hysteresis threshold of ``nucleus`` with its holes filled. The score of a pixel is
    ``(1 - distance_weight) * (nucleus - border_weight * border) + distance_weight * distance``, cut to 0..1
    and smoothed; regions of the mask with a score above ``marker_threshold`` are the markers. Maps without a
    ``border`` or ``distance`` channel give a score without that term.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.
        border_weight: how much ``border`` is taken from the score, 0 or more.
        distance_weight: share of ``distance`` in the score, 0..1.
        marker_threshold: score above which a pixel belongs to a marker, 0..1.
        sigma: standard deviation of the smoothing in pixels; 0 for none.
    """

    low: float
    high: float
    border_weight: float
    distance_weight: float
    marker_threshold: float
    sigma: float

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        mask = fill_holes(hysteresis(maps["nucleus"], self.low, self.high))
        score = smooth(self.score(maps), self.sigma)
        return flood(score, (score > cut(self.marker_threshold)).view(np.uint8), mask)

    def score(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Blend the maps into the uint8 (H, W) score that rises towards the middle of each nucleus."""
        score = maps["nucleus"]
        if "border" in maps:
            score = cv2.addWeighted(score, 1, maps["border"], -self.border_weight, 0)
        if "distance" in maps:
            score = cv2.addWeighted(
                score, 1 - self.distance_weight, maps["distance"], self.distance_weight, 0
            )
        return score


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a uint8 (H, W) image with a Gaussian; OpenCV's is exact in integers, so flips change nothing."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma > 0 else image


def flood(score: np.ndarray, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow each seed region over the mask, highest score first, until all of the mask is shared out.

    Args:
        score: uint8 (H, W).
        seeds: uint8 (H, W), nonzero where a marker is; each 4-connected region within the mask is one marker.
        mask: uint8 (H, W), 0 or 1.

    Returns:
        int32 (H, W), 1..N: one object for each marker, and one for each 4-connected region of the mask
        without a marker. No pixel of the mask is lost to dividing lines.

    >>> score = np.array([[9, 8, 4, 8, 9, 0, 3]], np.uint8)
    >>> flood(score, (score > 8).astype(np.uint8), (score > 0).astype(np.uint8))
    array([[1, 1, 1, 2, 2, 0, 3]], dtype=int32)
    """
    count, markers = cv2.connectedComponents(seeds * mask, connectivity=4, ltype=cv2.CV_32S)
    regions_count, regions = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    numbers, several = _number(markers, count, regions, regions_count)
    labels = numbers[regions]
    if several.any():
        shared = several[regions]
        labels += watershed(~score, markers * shared, mask=shared)
    return labels


def _number(
    markers: np.ndarray, count: int, regions: np.ndarray, regions_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number the regions of the mask that need no flood, which are most: nuclei that lie apart.

    Returns:
        int32 (regions_count,): the marker's number for a region with one, a new number for one without, 0
        for the background and where there are several; and bool (regions_count,), true for these.
    """
    inside = np.flatnonzero(markers)
    region_of = np.zeros(count, np.int32)
    region_of[markers.ravel()[inside]] = regions.ravel()[inside]
    held = np.bincount(region_of[1:], minlength=regions_count)
    numbers = np.zeros(regions_count, np.int32)
    numbers[region_of[1:]] = np.arange(1, count)
    numbers[held > 1] = 0
    without = np.flatnonzero(held[1:] == 0) + 1
    numbers[without] = count + np.arange(len(without))
    return numbers, held > 1
