"""Masks of nuclei: threshold an 8-bit probability map and fill the holes."""

from __future__ import annotations

import cv2
import numpy as np

from nuclei.labelmap.regions import regions_with_seed


def uint8_threshold(probability: float) -> int:
    """Return the integer t for which ``value > t`` means ``value / 255 > probability``.

    >>> uint8_threshold(0.5)
    127
    """
    return int(probability * 255 + 1e-9)


def hysteresis_mask(nucleus: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the nuclei's mask: regions above ``low`` that hold a pixel above ``high``, their holes filled.

    Args:
        nucleus: uint8 (H, W).
        low, high: probabilities, see ``hysteresis_threshold``.

    Returns:
        uint8 (H, W), 0 or 1.
    """
    return fill_holes(hysteresis_threshold(nucleus, low, high))


def hysteresis_threshold(nucleus: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep the 4-connected regions strictly above ``low`` that hold a pixel strictly above ``high``.

    Args:
        nucleus: uint8 (H, W).
        low: probability at the outline of a region, 0..1.
        high: probability that a region must exceed somewhere; a value below ``low`` has no effect.

    Returns:
        uint8 (H, W), 0 or 1.

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

    Args:
        mask: uint8 (H, W), 0 or 1.

    Returns:
        A new uint8 (H, W), 0 or 1.

    >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8))[1]
    array([1, 1, 1], dtype=uint8)
    """
    height, width = mask.shape
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    cv2.floodFill(padded, np.zeros((height + 4, width + 4), np.uint8), (0, 0), (2,), flags=8)
    return (padded[1:-1, 1:-1] != 2).view(np.uint8)
