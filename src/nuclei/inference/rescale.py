"""Nuclei of one size: each image is zoomed so that its nuclei have the diameter that networks see best.

A pass at half the image's size, and one at its own, find how large its nuclei are; a last one predicts the
zoomed image, and the maps come back at the image's own size (compare Cellpose, Stringer et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import nn

from nuclei.inference.predict_maps import VIEWS, View, predict
from nuclei.postprocess.pipeline import by_name
from nuclei.postprocess.watershed import MapWatershed

LIMITS = (0.35, 2.0)  # of the zoom; networks are trained on 0.35 to 2.5 and more
LARGE = 36.0  # pixels; only parts of larger nuclei are seen at the image's own size
SEPARATE = MapWatershed(0.6, 0.8, border_weight=0.5, distance_weight=0.5, marker_threshold=0.55, sigma=1.0)
LEAST = 10  # pixels of a nucleus


def predict_at_size(
    network: nn.Module,
    image: np.ndarray,
    channels: Sequence[str],
    diameter: float | None,
    tta: int = 1,
    scales: Sequence[float] = (1.0,),
    bf16: bool = False,
) -> np.ndarray:
    """Maps of an image, predicted where its nuclei have about ``diameter``.

    Args:
        network: see ``nuclei.inference.predict_maps.predict``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, as the network wants to see it.
        channels: names of the network's maps; without ``distance`` nothing is zoomed.
        diameter: wanted, in pixels; None predicts the image as it is.
        tta: dihedral views of the last pass, 1 to 8.
        scales: factors of the zoom; the views take them in turn.
        bf16: compute in bfloat16.

    Returns:
        ``uint8 (C, H, W)``.
    """
    if diameter is None or "distance" not in channels:
        return predict(network, image, VIEWS[:tta], bf16)
    zoom = zoom_for(network, image, channels, diameter, bf16)
    total = np.zeros((len(channels), *image.shape[:2]), np.float32)
    for n, scale in enumerate(scales[:tta]):
        views = VIEWS[:tta][n :: len(scales)]
        total += len(views) * predict_zoomed(network, image, zoom * scale, views, bf16).astype(np.float32)
    return np.rint(total / tta).astype(np.uint8)


def zoom_for(
    network: nn.Module, image: np.ndarray, channels: Sequence[str], diameter: float, bf16: bool
) -> float:
    """The zoom that gives the nuclei of an image ``diameter``, within limits.

    Of large nuclei only parts or bright spots are seen at the image's own size, so half of it comes first.
    """

    def found(zoom: float) -> float:
        maps = predict(network, zoomed(image, zoom), VIEWS[:1], bf16)
        return mean_diameter(by_name(maps, channels)) / zoom

    half = found(0.5)
    wide = half if half > LARGE else found(1.0) or half
    return float(np.clip(diameter / wide, *LIMITS)) if wide else 1.0


def predict_zoomed(
    network: nn.Module, image: np.ndarray, zoom: float, views: Sequence[View], bf16: bool
) -> np.ndarray:
    """Maps of the zoomed image, ``uint8 (C, H, W)`` at the image's own size."""
    maps = predict(network, zoomed(image, zoom), views, bf16)
    if maps.shape[1:] == image.shape[:2]:
        return maps
    back = cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_AREA
    return np.stack([cv2.resize(m, image.shape[1::-1], interpolation=back) for m in maps])


def zoomed(image: np.ndarray, zoom: float) -> np.ndarray:
    """The image, ``zoom`` times as large in both directions."""
    size = tuple(max(1, round(n * zoom)) for n in image.shape[1::-1])
    if size == image.shape[1::-1]:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)


def mean_diameter(maps: Mapping[str, np.ndarray]) -> float:
    """Diameter in pixels of a disc with the mean area of the nuclei that the watershed finds.

    Args:
        maps: ``uint8 (H, W)`` each.

    Returns:
        0 where there is no nucleus.
    """
    areas = np.bincount(SEPARATE(maps).ravel())[1:]
    areas = areas[areas >= LEAST]
    return 2 * float(np.sqrt(areas.mean() / np.pi)) if len(areas) else 0.0
