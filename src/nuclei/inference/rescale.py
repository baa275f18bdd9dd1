"""Nuclei of one size: each image is zoomed so that its nuclei have the diameter that networks see best.

A pass at half the image's size, and one at its own, estimate how large its nuclei are; a last one predicts
the zoomed image, and the maps come back at the image's own size (compare Cellpose, Stringer et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from nuclei.data.image_stacks import JUDGED_WHOLE, Pixels, busiest_windows
from nuclei.inference.predict_maps import Network, View, predict, resize_maps
from nuclei.metrics import equivalent_diameter
from nuclei.postprocess.pipeline import by_name
from nuclei.postprocess.watershed import MapWatershed
from nuclei.progress import within

ZOOM_LIMITS = (0.35, 2.0)
"""Least and greatest zoom; networks are trained on 0.35 to 2.5 and more."""
WIDE_LIMITS = (0.05, 4.0)
"""Least and greatest zoom where the user says how large the nuclei are."""
LARGE_DIAMETER = 36.0
"""In pixels; only parts of larger nuclei are seen at the image's own size."""
NEAR = (0.75, 1.35)
"""Zooms that a single view goes without: nuclei of 19 to 35 pixels are seen as well (docs/ablation.md)."""
MIN_AREA = 10
"""In square pixels; smaller objects do not count."""


class EstimatedZoom(NamedTuple):
    """The zoom of an image, and its maps ``uint8 (C, H, W)`` at its own size, if they were made."""

    zoom: float
    own_maps: np.ndarray | None


def estimate_zoom(
    network: Network, image: np.ndarray, channels: Sequence[str], diameter: float
) -> EstimatedZoom:
    """Find the zoom that gives the nuclei of an image a mean ``diameter``, within ``ZOOM_LIMITS``.

    Of large nuclei only parts or bright spots are seen at the image's own size, so half of it comes first.
    Of an image of more than ``JUDGED_WHOLE`` pixels only the busiest part is measured.
    """
    is_whole = image.shape[0] * image.shape[1] <= JUDGED_WHOLE
    measured = image if is_whole else busiest_part(image)

    def maps_at(zoom: float) -> np.ndarray:
        with within(f"nuclei's size at {zoom:g} x"):
            return predict(network, zoom_image(measured, zoom))

    own_maps, current = None, mean_diameter(by_name(maps_at(0.5), channels)) / 0.5
    if current <= LARGE_DIAMETER:
        own_maps = maps_at(1.0)
        current = mean_diameter(by_name(own_maps, channels)) or current
    zoom = float(np.clip(diameter / current, *ZOOM_LIMITS)) if current else 1.0
    return EstimatedZoom(zoom, own_maps if is_whole else None)


def busiest_part(image: Pixels) -> np.ndarray:
    """Return the four windows of an image with the greatest contrast, as one image of 2 by 2 of them."""
    a, b, c, d = (image[window] for window in busiest_windows(image))
    return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)], axis=0)


def predict_zoomed(network: Network, image: np.ndarray, zoom: float, views: Sequence[View]) -> np.ndarray:
    """Return the maps of the zoomed image, ``uint8 (C, H, W)`` at the image's own size."""
    with within(f"maps at {zoom:.2f} x"):
        maps = predict(network, zoom_image(image, zoom), views)
    if maps.shape[1:] == image.shape[:2]:
        return maps
    return resize_maps(maps, image.shape[:2], cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_AREA)


def zoom_image(image: np.ndarray, zoom: float) -> np.ndarray:
    """Return the image, ``zoom`` times as large in both directions."""
    size = tuple(max(1, round(n * zoom)) for n in image.shape[1::-1])
    if size == image.shape[1::-1]:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)


def mean_diameter(maps: Mapping[str, np.ndarray]) -> float:
    """Return the diameter in pixels of a disc with the mean area of the nuclei that the watershed finds.

    Maps are ``uint8 (H, W)``, by name; without a nucleus it is 0.
    """
    areas = np.bincount(MapWatershed()(maps).ravel())[1:]
    areas = areas[areas >= MIN_AREA]
    return float(equivalent_diameter(areas.mean())) if len(areas) else 0.0
