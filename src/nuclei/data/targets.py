"""From a label map to the maps that a network learns."""

from __future__ import annotations

import cv2
import numpy as np

CHANNELS = ("nucleus", "border", "distance")


def targets(labels: np.ndarray, reach: int = 2) -> np.ndarray:
    """Maps of a label map, in the order of ``CHANNELS``.

    ``nucleus`` is 1 inside nuclei. ``border`` is 1 on the outermost pixels of each nucleus and
    wherever two nuclei are within ``reach`` pixels. ``distance`` is the distance to the nucleus'
    own edge divided by the greatest such distance in that nucleus: 1 at its core, so nuclei of all
    sizes give equally high markers.

    Args:
        labels: ``int32 (H, W)``, 0 background; gaps in the numbering are allowed.
        reach: in pixels.

    Returns:
        ``float32 (3, H, W)`` in [0, 1].
    """
    inside = labels > 0
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    values = labels.astype(np.float32)  # OpenCV's morphology has no int32; exact below 2**24
    edge = inside & (cv2.erode(values, cross) != cv2.dilate(values, cross))
    border = edge | _between(values, reach)
    steps = cv2.distanceTransform((inside & ~edge).astype(np.uint8), cv2.DIST_L2, 3) + inside
    furthest = np.zeros(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(furthest, labels.ravel(), steps.ravel())
    distance = np.where(inside, steps / np.maximum(furthest, 1.0)[labels], 0.0)
    return np.stack([inside, border, distance]).astype(np.float32)


def _between(values: np.ndarray, reach: int) -> np.ndarray:
    """Pixels that have two different nuclei within ``reach``."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    highest = cv2.dilate(values, disc)
    lowest = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), disc)
    return (highest > 0) & (lowest != highest)
