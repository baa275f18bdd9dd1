"""Masks of nuclei: thresholds of an 8-bit probability map, connected components, removal of small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.labelmap.regions import regions_with_seed, remove_small_objects


def uint8_threshold(probability: float) -> int:
    """Return the integer t for which ``value > t`` means ``value / 255 > probability``.

    >>> uint8_threshold(0.5)
    127
    """
    return int(probability * 255 + 1e-9)


def hysteresis_mask(nucleus: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the ``hysteresis_threshold`` of a uint8 (H, W) map with its holes filled, as uint8, 0 or 1."""
    return fill_holes(hysteresis_threshold(nucleus, low, high))


def hysteresis_threshold(nucleus: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep the 4-connected regions strictly above ``low`` that hold a pixel strictly above ``high``.

    Both are probabilities, 0..1, and a ``high`` below ``low`` has no effect. Map and mask are uint8 (H, W).

    >>> hysteresis_threshold(np.array([[90, 200, 0, 90]], np.uint8), low=0.3, high=0.6)
    array([[1, 1, 0, 0]], dtype=uint8)
    """
    weak = (nucleus > uint8_threshold(low)).view(np.uint8)
    if high <= low:
        return weak
    return regions_with_seed(weak, (nucleus > uint8_threshold(high)).view(np.uint8))


def otsu_threshold(nucleus: np.ndarray) -> np.ndarray:
    """Return the uint8 (H, W) mask of pixels above Otsu's threshold (Otsu 1979) of a uint8 (H, W) map.

    A map of a single value has no such threshold; its mask is that of a probability of one half.
    """
    nucleus = np.ascontiguousarray(nucleus)
    otsu = 0 if nucleus.min() == nucleus.max() else cv2.THRESH_OTSU
    return cv2.threshold(nucleus, 127, 1, cv2.THRESH_BINARY | otsu)[1]


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill the background from which no 8-connected path leads out of the image.

    Both masks are uint8 (H, W), 0 or 1.

    >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8))[1]
    array([1, 1, 1], dtype=uint8)
    """
    height, width = mask.shape
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    cv2.floodFill(padded, np.zeros((height + 4, width + 4), np.uint8), (0, 0), (2,), flags=8)
    return (padded[1:-1, 1:-1] != 2).view(np.uint8)


@dataclass(frozen=True)
class Components:
    """Label each 4-connected region of the mask, its holes filled.

    Attributes:
        low, high: hysteresis thresholds on ``nucleus``, 0..1.

    >>> Components(low=0.5, high=0.5)({"nucleus": np.array([[255, 255, 0, 255]], np.uint8)})
    array([[1, 1, 0, 2]], dtype=int32)
    """

    low: float
    high: float

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        return label_mask(hysteresis_mask(maps["nucleus"], self.low, self.high))


@dataclass(frozen=True)
class OtsuComponents:
    """Label each 4-connected region above Otsu's threshold of the map, as Haigh et al. (2018) do.

    >>> OtsuComponents()({"nucleus": np.array([[250, 240, 10, 90, 250]], np.uint8)})
    array([[1, 1, 0, 0, 2]], dtype=int32)
    """

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        return label_mask(otsu_threshold(maps["nucleus"]))


def label_mask(mask: np.ndarray) -> np.ndarray:
    """Return the 4-connected regions of a uint8 (H, W) mask as int32 (H, W) labels."""
    return cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)[1]


@dataclass(frozen=True)
class RemoveSmall:
    """Remove objects of fewer than ``min_area`` pixels and close the gaps in the numbering.

    >>> RemoveSmall(min_area=2)(np.array([[1, 0, 2, 2]], np.int32))
    array([[0, 0, 1, 1]], dtype=int32)
    """

    min_area: int

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        highest = int(labels.max(initial=0))
        return remove_small_objects(labels.ravel(), highest, max(self.min_area, 1)).reshape(labels.shape)
