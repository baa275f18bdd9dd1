"""Connected components of the thresholded nucleus map: nuclei that touch are not split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.postprocess.threshold import hysteresis_mask, otsu_threshold


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
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        return label_mask(hysteresis_mask(maps["nucleus"], self.low, self.high))


@dataclass(frozen=True)
class OtsuComponents:
    """Label each 4-connected region above Otsu's threshold of the map, as Haigh et al. (2018) do.

    >>> OtsuComponents()({"nucleus": np.array([[250, 240, 10, 90, 250]], np.uint8)})
    array([[1, 1, 0, 0, 2]], dtype=int32)
    """

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        return label_mask(otsu_threshold(maps["nucleus"]))


def label_mask(mask: np.ndarray) -> np.ndarray:
    """Return the 4-connected regions of a uint8 (H, W) mask as int32 (H, W) labels."""
    return cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)[1]
