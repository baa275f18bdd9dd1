"""Connected components of the thresholded nucleus map: the simplest post-processing there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.postprocess.holes import fill_holes
from nuclei.postprocess.hysteresis import hysteresis


@dataclass(frozen=True)
class Components:
    """Each 4-connected region of the mask is a nucleus, its holes filled.

    >>> Components(low=0.5, high=0.5)({"nucleus": np.array([[255, 255, 0, 255]], np.uint8)})
    array([[1, 1, 0, 2]], dtype=int32)
    """

    low: float
    high: float

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        mask = fill_holes(hysteresis(maps["nucleus"], self.low, self.high))
        return cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)[1]
