"""Watershed from markers that the network's maps give: nucleus minus border, and distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.labelmap.flooding import flood
from nuclei.labelmap.map_arithmetic import marker_score
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
        nucleus = maps["nucleus"]
        return marker_score(
            nucleus,
            maps.get("border", nucleus),
            maps.get("distance", nucleus),
            self.border_weight if "border" in maps else 0.0,
            self.distance_weight if "distance" in maps else 0.0,
        )


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a uint8 (H, W) image with a Gaussian; OpenCV's is exact in integers, so flips change nothing."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma > 0 else image
