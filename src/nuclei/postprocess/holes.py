"""Fill the holes of a mask."""

from __future__ import annotations

import cv2
import numpy as np


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background that an 8-connected path cannot lead out of the image.

    Args:
        mask: uint8 (H, W), 0 or 1.

    Returns:
        A new uint8 (H, W), 0 or 1.

    >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8))[1]
    array([1, 1, 1], dtype=uint8)
    """
    outside = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2, flags=8)  # type: ignore[call-overload]
    return (outside[1:-1, 1:-1] != 2).view(np.uint8)
