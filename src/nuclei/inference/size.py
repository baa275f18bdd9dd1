"""Nuclei of one size: each image is zoomed so that its nuclei have the diameter that networks see best.

A first pass at the image's own size finds how large its nuclei are, a second one predicts the zoomed
image, and the maps come back at the image's own size (compare Cellpose, Stringer et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import nn

from nuclei.inference.maps import predict

LIMITS = (0.7, 2.0)  # of the zoom; networks are trained on 0.5 to 2


def predict_at_size(
    network: nn.Module,
    image: np.ndarray,
    channels: Sequence[str],
    diameter: float | None,
    tta: int = 1,
    bf16: bool = False,
) -> np.ndarray:
    """Maps of an image, predicted where its nuclei have about ``diameter``.

    Args:
        network: see ``nuclei.inference.maps.predict``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, as the network wants to see it.
        channels: names of the network's maps; without ``distance`` nothing is zoomed.
        diameter: wanted, in pixels; None predicts the image as it is.
        tta: dihedral views of the second pass.
        bf16: compute in bfloat16.

    Returns:
        ``uint8 (C, H, W)``.
    """
    if diameter is None or "distance" not in channels:
        return predict(network, image, tta, bf16)
    first = predict(network, image, 1, bf16)
    found = mean_diameter(dict(zip(channels, first, strict=True)))
    zoom = float(np.clip(diameter / found, *LIMITS)) if found else 1.0
    size = tuple(max(1, round(n * zoom)) for n in image.shape[1::-1])
    if size == image.shape[1::-1]:
        return predict(network, image, tta, bf16)
    zoomed = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    maps = predict(network, zoomed, tta, bf16)
    back = cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_AREA
    return np.stack([cv2.resize(m, image.shape[1::-1], interpolation=back) for m in maps])


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
