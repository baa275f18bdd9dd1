"""One look for every microscope: nuclei bright on dark, in one channel, over the full range."""

from __future__ import annotations

import numpy as np


def normalise(image: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Turn any image into what the networks see.

    Colour images give their red channel: haematoxylin, which stains nuclei, absorbs red light and
    eosin hardly does. Bright backgrounds (all colour images, and grey ones whose median is above
    110) are inverted. Then the ``low`` and ``high`` percentiles become 0 and 255.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
        low: percentile that becomes 0.
        high: percentile that becomes 255.

    Returns:
        ``uint8 (H, W)``.
    """
    grey = image if image.ndim == 2 else image[..., 0]
    if image.ndim == 3 or np.median(grey) > 110:
        grey = 255 - grey
    a, b = np.percentile(grey, (low, high))
    levels = np.clip((np.arange(256) - a) * (255.0 / max(b - a, 1.0)), 0, 255)
    return levels.round().astype(np.uint8)[grey]
