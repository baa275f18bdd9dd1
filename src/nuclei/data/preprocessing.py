"""One look for every microscope: nuclei bright on dark, in one channel, over the full range."""

from __future__ import annotations

from typing import Literal

import numpy as np

Preprocessing = Literal["nuclei", "nuclei_rgb", "grey", "plain", "rgb"]


def in_channels(preprocessing: Preprocessing) -> int:
    """How many channels ``preprocess`` gives: 1 or 3."""
    return 3 if preprocessing.endswith("rgb") else 1


def preprocess(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Show an image as a network wants to see it.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
        preprocessing: ``nuclei``: see ``normalise``; ``nuclei_rgb``: the same of each colour; ``grey``: the
            mean of the colours, inverted where it is bright on average (Haigh et al. 2018); ``plain``: the
            same, never inverted; ``rgb``: as it is. Grey images get three equal channels where three are
            wanted.

    Returns:
        ``uint8 (H, W)`` or ``(H, W, 3)``; see ``in_channels``.
    """
    if preprocessing == "rgb":
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if preprocessing in ("grey", "plain"):
        grey = image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)
        return 255 - grey if preprocessing == "grey" and grey.mean() > 127 else grey
    if preprocessing == "nuclei_rgb":
        colours = np.moveaxis(np.atleast_3d(image), 2, 0)
        shown = [stretched(colour, modality(image) != "fluorescence") for colour in colours]
        return np.stack(shown * (3 // len(shown)), axis=2)
    return normalise(image)


def modality(image: np.ndarray) -> str:
    """``fluorescence`` (dark ground), ``brightfield`` (grey, light ground) or ``histology`` (colour)."""
    if image.ndim == 3:
        return "histology"
    return "brightfield" if np.median(image) > 110 else "fluorescence"


def normalise(image: np.ndarray) -> np.ndarray:
    """Turn any image into what the networks see.

    Colour images give their red channel: haematoxylin, which stains nuclei, absorbs red light and
    eosin hardly does. Bright backgrounds (all colour images, and grey ones whose median is above
    110) are inverted, and the contrast is ``stretched``.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.

    Returns:
        ``uint8 (H, W)``.
    """
    return stretched(image if image.ndim == 2 else image[..., 0], modality(image) != "fluorescence")


def stretched(grey: np.ndarray, invert: bool, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Make the ``low`` and ``high`` percentiles of a channel 0 and 255.

    Args:
        grey: ``uint8 (H, W)``.
        invert: whether bright becomes dark first.
        low: percentile that becomes 0.
        high: percentile that becomes 255.

    Returns:
        ``uint8 (H, W)``.
    """
    if invert:
        grey = 255 - grey
    a, b = np.percentile(grey, (low, high))
    levels = np.clip((np.arange(256) - a) * (255.0 / max(b - a, 1.0)), 0, 255)
    return levels.round().astype(np.uint8)[grey]
