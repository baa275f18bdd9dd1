"""Watershed whose borders come from maps that say where in its nucleus a pixel lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.postprocess.watershed import MapWatershed


@dataclass(frozen=True)
class OffsetWatershed(MapWatershed):
    """As ``MapWatershed``, with ``offset_y`` and ``offset_x`` in place of a border map.

    Both rise from 0 to 1 across each nucleus, so where two nuclei touch they fall from 1 to 0: how steeply
    they fall is the border (compare HoVer-Net, Graham et al. 2019, section III.B). Maps without offsets keep
    their own border.
    """

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        if {"offset_y", "offset_x"} <= maps.keys():
            maps = {**maps, "border": falls(maps["offset_y"], maps["offset_x"])}
        return super().__call__(maps)


def falls(offset_y: np.ndarray, offset_x: np.ndarray) -> np.ndarray:
    """How much the offsets fall over about four pixels, uint8 (H, W); 255 for all the way."""
    y = cv2.Sobel(offset_y, cv2.CV_32F, 0, 1, ksize=5, scale=1 / 48)
    x = cv2.Sobel(offset_x, cv2.CV_32F, 1, 0, ksize=5, scale=1 / 48)
    return np.clip(np.rint(-2 * np.minimum(y, x)), 0, 255).astype(np.uint8)
