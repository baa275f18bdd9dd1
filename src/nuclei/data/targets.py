"""The maps that a network learns, made from a label map."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import find_objects

CHANNELS = ("nucleus", "border", "distance")
W0, SIGMA = 10.0, 5.0
"""Greatest added weight of ``border_weights``, and the pixels over which it falls."""


def targets(
    labels: np.ndarray,
    channels: Sequence[str] = CHANNELS,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the maps of a label map that ``channels`` name.

    ``nucleus`` is 1 inside nuclei. ``border`` is 1 on the outermost pixels of each nucleus and
    wherever two nuclei are within two pixels. ``distance`` is the distance to the edge of the nucleus,
    divided by the greatest such distance in that nucleus: 1 at its core, so nuclei of all
    sizes give equally high markers. ``centre`` is 1 where ``distance`` exceeds 0.6. ``offset_y`` and
    ``offset_x`` are a pixel's position in the bounding box of its nucleus, 0 at the top (left) and 1 at the
    bottom (right), and 0.5 in the background (compare HoVer-Net, Graham et al. 2019). With ``background``
    among the channels exactly one is true at each pixel: ``border``, if there is one, before ``nucleus``
    before ``background``. Channels that begin with ``class_`` are 1 inside nuclei of
    their class, the first of them of class 1. ``weight`` is no map to learn but the weight of each pixel's
    loss; see ``border_weights``.

    Labels are ``int32 (H, W)``, with any numbering; ``classes``, ``(N + 1,)``, are theirs. The result is
    ``float32 (C, H, W)`` in [0, 1]; weights are 1 and more.
    """
    inside = labels > 0
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    values = labels.astype(np.float32)  # OpenCV's morphology has no int32; exact below 2**24
    edge = inside & (cv2.erode(values, cross) != cv2.dilate(values, cross))
    border = edge | _between(values, 2)
    maps = {"nucleus": inside, "border": border}
    if "background" in channels:
        first = border if "border" in channels else np.zeros_like(border)
        maps |= {"nucleus": inside & ~first, "background": ~inside & ~first}
    if {"distance", "centre"} & set(channels):
        maps["distance"] = _distance(labels, inside, edge)
        maps["centre"] = maps["distance"] > 0.6
    if {"offset_y", "offset_x"} & set(channels):
        maps["offset_y"], maps["offset_x"] = _offsets(labels)
    if "weight" in channels:
        maps["weight"] = border_weights(labels)
    if class_channels := [name for name in channels if name.startswith("class_")]:
        assert classes is not None, "channels class_… need classes"
        maps |= {name: classes[labels] == k for k, name in enumerate(class_channels, 1)}
    return np.stack([maps[name] for name in channels]).astype(np.float32)


def _distance(labels: np.ndarray, inside: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Return the distance to the nucleus' edge, divided by the greatest one in the nucleus."""
    steps = cv2.distanceTransform((inside & ~edge).astype(np.uint8), cv2.DIST_L2, 3) + inside
    greatest = np.zeros(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(greatest, labels.ravel(), steps.ravel())
    return np.where(inside, steps / np.maximum(greatest, 1.0)[labels], 0.0)


def _offsets(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's position in the bounding box of its nucleus, 0..1: vertical, horizontal."""
    y, x = (np.full(labels.shape, 0.5, np.float32) for _ in range(2))
    for number, box in enumerate(find_objects(labels), 1):
        if box is not None:
            mask = labels[box] == number
            rows, columns = np.nonzero(mask)
            y[box][mask] = (rows + 0.5) / mask.shape[0]
            x[box][mask] = (columns + 0.5) / mask.shape[1]
    return y, x


def border_weights(labels: np.ndarray) -> np.ndarray:
    """Return the original U-Net's weights, ``float32 (H, W)``: background between close nuclei weighs most.

    ``1 + W0 * exp(-(d1 + d2)**2 / (2 * SIGMA**2))`` outside nuclei, with the distances d1 and d2 to the
    nearest and the second nearest nucleus (Ronneberger et al. 2015, equation 2; its class balance is left
    out, for the competition's images differ too much in it). Nuclei that touch have no background between
    them: their edges count as gaps.
    """
    boxes = [(number, box) for number, box in enumerate(find_objects(labels), 1) if box is not None]
    weight = np.ones(labels.shape, np.float32)
    if len(boxes) < 2:
        return weight
    nearest = np.full((2, *labels.shape), np.float32(1e6))
    margin = int(4 * SIGMA) + 1  # further off the weight is 1
    for number, (rows, columns) in boxes:
        box = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in (rows, columns))
        d = cv2.distanceTransform((labels[box] != number).astype(np.uint8), cv2.DIST_L2, 5)
        first, second = nearest[0][box], nearest[1][box]
        nearest[1][box] = np.minimum(second, np.maximum(first, d))
        nearest[0][box] = np.minimum(first, d)
    gap = (labels == 0) | _between(labels.astype(np.float32), 1)
    return weight + gap * W0 * np.exp(-(nearest.sum(0) ** 2) / (2 * SIGMA**2)).astype(np.float32)


def _between(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the pixels that have two different nuclei within ``reach``, bool (H, W)."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    highest = cv2.dilate(values, disc)
    lowest = cv2.erode(np.where(values > 0, values, np.float32(np.inf)), disc)
    return (highest > 0) & (lowest != highest)
