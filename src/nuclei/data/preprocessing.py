"""What networks see of an image: nuclei bright on dark over the full range, whatever the microscope."""

from __future__ import annotations

from typing import Literal

import numpy as np

Preprocessing = Literal["nuclei", "nuclei_rgb", "grey", "plain", "rgb"]


def in_channels(preprocessing: Preprocessing) -> int:
    """Return the number of channels that ``preprocess`` gives: 1 or 3."""
    return 3 if preprocessing.endswith("rgb") else 1


def preprocess(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring an image to the form in which a network sees it.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
        preprocessing: ``nuclei``: see ``normalise``; ``nuclei_rgb``: the same for each colour; ``grey``: the
            mean of the colours, inverted if it is bright on average (Haigh et al. 2018); ``plain``: the
            same, never inverted; ``rgb``: unchanged. Grey images are repeated where three channels are
            expected.

    Returns:
        ``uint8 (H, W)`` or ``(H, W, 3)``; see ``in_channels``.
    """
    if preprocessing == "rgb":
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if preprocessing in ("grey", "plain"):
        grey = image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)
        return 255 - grey if preprocessing == "grey" and grey.mean() > 127 else grey
    if preprocessing == "nuclei_rgb":
        dark_nuclei = guess_modality(image) != "fluorescence"
        colours = np.moveaxis(np.atleast_3d(image), 2, 0)
        channels = [stretch_contrast(255 - colour if dark_nuclei else colour) for colour in colours]
        return np.stack(channels * (3 // len(channels)), axis=2)
    return normalise(image)


def guess_modality(image: np.ndarray) -> str:
    """Tell ``fluorescence`` (dark ground), ``brightfield`` (grey, light ground) and ``histology`` (colour).

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
    """
    if image.ndim == 3:
        return "histology"
    return "brightfield" if np.median(image) > 110 else "fluorescence"


def normalise(image: np.ndarray) -> np.ndarray:
    """Reduce an image to one channel with bright nuclei on a dark ground.

    Colour images are reduced to their red channel: haematoxylin, which stains nuclei, absorbs red light and
    eosin hardly does. Bright backgrounds (all colour images, and grey ones with a median above 110) are
    inverted, and the contrast is stretched.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.

    Returns:
        ``uint8 (H, W)``.
    """
    channel = image if image.ndim == 2 else image[..., 0]
    return stretch_contrast(channel if guess_modality(image) == "fluorescence" else 255 - channel)


def stretch_contrast(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Scale an image linearly so that two of its percentiles become 0 and 255.

    Args:
        image: ``uint8`` of any shape.
        low: percentile that becomes 0.
        high: percentile that becomes 255.

    Returns:
        ``uint8`` of the same shape.
    """
    dark, bright = np.percentile(image, (low, high))
    levels = np.clip((np.arange(256) - dark) * (255.0 / max(bright - dark, 1.0)), 0, 255)
    return levels.round().astype(np.uint8)[image]
