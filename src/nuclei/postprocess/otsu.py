"""Otsu's threshold on the nucleus map, and its connected components (Haigh et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class OtsuComponents:
    """Each 4-connected region above Otsu's threshold of the map (Otsu 1979) is a nucleus.

    >>> OtsuComponents()({"nucleus": np.array([[250, 240, 10, 90, 250]], np.uint8)})
    array([[1, 1, 0, 0, 2]], dtype=int32)
    """

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels; a flat map is cut at a half."""
        nucleus = np.ascontiguousarray(maps["nucleus"])
        flat = nucleus.min() == nucleus.max()
        kind = cv2.THRESH_BINARY | (0 if flat else cv2.THRESH_OTSU)
        mask = cv2.threshold(nucleus, 127, 1, kind)[1]
        return cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)[1]
