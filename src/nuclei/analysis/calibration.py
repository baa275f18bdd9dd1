"""Do the maps mean what they say? Pixels that a map gives 0.7 should be 0.7 true on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuclei.data.targets import targets

BINS = 20


def tally(maps: np.ndarray, channels: Sequence[str], truth: np.ndarray) -> np.ndarray:
    """Count pixels by predicted value, and add up what they should have been.

    Args:
        maps: uint8 (C, H, W).
        channels: their names, as ``nuclei.data.targets`` has them.
        truth: integer (H, W) label map.

    Returns:
        float64 (C, 256, 2): for each value the number of pixels and the sum of their targets.
    """
    wanted = targets(truth, channels)
    return np.stack(
        [
            np.stack([np.bincount(m.ravel(), w, minlength=256) for w in (None, want.ravel())], axis=1)
            for m, want in zip(maps, wanted, strict=True)
        ]
    )


def curve(tallied: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each non-empty one of ``BINS`` bins the mean prediction, the mean truth and the pixels.

    Args:
        tallied: float64 (256, 2), one channel of ``tally``, summed over images.
    """
    pixels, wanted = tallied.T
    bins = np.arange(256) * BINS // 256
    n, said, true = (np.bincount(bins, w) for w in (pixels, pixels * np.arange(256) / 255, wanted))
    full = n > 0
    return said[full] / n[full], true[full] / n[full], n[full]


def calibration_error(tallied: np.ndarray) -> float:
    """Return the expected calibration error: the mean distance of the curve from the diagonal, by pixels.

    >>> sure = np.zeros((256, 2)); sure[255] = 100, 75
    >>> calibration_error(sure)
    0.25
    """
    said, true, n = curve(tallied)
    return float(np.abs(said - true) @ n / n.sum())
