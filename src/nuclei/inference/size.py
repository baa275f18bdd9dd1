"""Nuclei of one size: each image is zoomed so that its nuclei have the diameter that networks see best.

A first pass at the image's own size, and at half of it, finds how large its nuclei are; a second one predicts
the zoomed image, and the maps come back at the image's own size (compare Cellpose, Stringer et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import nn

from nuclei.inference.maps import VIEWS, View, predict

LIMITS = (0.7, 2.0)  # of the zoom; networks are trained on 0.35 to 2.5 and more
LARGE = 1.5  # this much more area of nuclei at half the size: they are too large to be seen at full size
LEAST = 0.35  # zoom of such images


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
        network: see ``nuclei.inference.maps.predict``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, as the network wants to see it.
        channels: names of the network's maps; without ``distance`` nothing is zoomed.
        diameter: wanted, in pixels; None predicts the image as it is.
        tta: dihedral views of the second pass, 1 to 8.
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

    Nuclei far larger than those of the training are seen in part at the image's own size, or only their
    bright spots are; at half the size most of their area is found. Then that pass says how large they are.
    """

    def seen(zoom: float) -> dict[str, np.ndarray]:
        return dict(zip(channels, predict(network, zoomed(image, zoom), VIEWS[:1], bf16), strict=True))

    own, half = seen(1.0), seen(0.5)
    if (wide := mean_diameter(half) * 2) and area(half) > LARGE * area(own):
        return float(np.clip(diameter / wide, LEAST, LIMITS[0]))
    found = mean_diameter(own)
    return float(np.clip(diameter / found, *LIMITS)) if found else 1.0


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


def area(maps: dict[str, np.ndarray]) -> float:
    """Share of the image that is nuclei."""
    return float((maps["nucleus"] > 153).mean())  # 0.6


def mean_diameter(maps: dict[str, np.ndarray]) -> float:
    """Mean diameter in pixels, from the maps alone: the area of ``nucleus`` over the number of cores.

    Cores are the pieces in which the smoothed ``distance`` exceeds a half, so nuclei that touch are
    counted one by one.

    Args:
        maps: ``uint8 (H, W)`` each.

    Returns:
        0 where there is no nucleus.
    """
    inside = maps["nucleus"] > 153  # 0.6
    core = inside & (cv2.GaussianBlur(maps["distance"], (0, 0), 1.5) > 127)
    count = cv2.connectedComponents(core.astype(np.uint8))[0] - 1
    return 2 * float(np.sqrt(inside.sum() / count / np.pi)) if count else 0.0
