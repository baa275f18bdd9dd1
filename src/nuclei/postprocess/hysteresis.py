"""Threshold with two levels: weak pixels count only where they touch a strong one."""

from __future__ import annotations

import numpy as np

from nuclei.labelmap.regions import regions_with_seed


def cut(level: float) -> int:
    """Turn a probability threshold into the uint8 one: ``value > cut(level)`` means ``value / 255 > level``.

    >>> cut(0.5)
    127
    """
    return int(level * 255 + 1e-9)


def hysteresis(nucleus: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep the 4-connected regions above ``low`` that hold a pixel above ``high``.

    Args:
        nucleus: uint8 (H, W).
        low: probability of the outline, in 0..1; pixels strictly above it count.
        high: probability that a region must pass somewhere; a value below ``low`` changes nothing.

    Returns:
        uint8 (H, W), 0 or 1.

    >>> hysteresis(np.array([[90, 200, 0, 90]], np.uint8), low=0.3, high=0.6)
    array([[1, 1, 0, 0]], dtype=uint8)
    """
    weak = (nucleus > cut(low)).view(np.uint8)
    if high <= low:
        return weak
    return regions_with_seed(weak, (nucleus > cut(high)).view(np.uint8))
