"""Arithmetic on 8-bit maps in one pass, in float32 and rounded only once."""

from __future__ import annotations

import numba
import numpy as np

CHUNK = 4096
"""Pixels that are summed up at a time, so that their sums stay in the fastest cache."""


@numba.njit(cache=True, nogil=True)
def weighted_mean(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of maps, rounded to the nearest integer, halves to the even one.

    Args:
        maps: uint8 (members, n).
        weights: float32 (members,) with the sum 1; maps with the weight 0 are not read.

    Returns:
        uint8 (n,).
    """
    size = maps.shape[1]
    mean, buffer = np.empty(size, np.uint8), np.empty(CHUNK, np.float32)
    for start in range(0, size, CHUNK):
        sums, out = buffer[: min(CHUNK, size - start)], mean[start : start + CHUNK]
        sums[:] = 0
        for k in range(len(maps)):
            weight, values = weights[k], maps[k, start : start + CHUNK]
            if weight > 0:
                for i in range(sums.size):
                    sums[i] += weight * np.float32(values[i])
        for i in range(sums.size):
            out[i] = np.uint8(np.rint(sums[i]))
    return mean


@numba.njit(cache=True, nogil=True)
def marker_score(
    nucleus: np.ndarray,
    border: np.ndarray,
    distance: np.ndarray,
    border_weight: float,
    distance_weight: float,
) -> np.ndarray:
    """Blend uint8 (H, W) maps into the uint8 (H, W) score whose peaks are the watershed's markers.

    The score is ``(1 - distance_weight) * max(nucleus - border_weight * border, 0) + distance_weight *
    distance``, rounded and cut off at 255.
    """
    score = np.empty(nucleus.shape, np.uint8)
    b, d, rest = np.float32(border_weight), np.float32(distance_weight), np.float32(1 - distance_weight)
    zero, half, top = np.float32(0), np.float32(0.5), np.float32(255)
    out, n, e, c = score.ravel(), nucleus.ravel(), border.ravel(), distance.ravel()
    for i in range(out.size):
        inner = max(np.float32(n[i]) - b * np.float32(e[i]), zero)
        out[i] = np.uint8(min(rest * inner + d * np.float32(c[i]) + half, top))
    return score


@numba.njit(cache=True, nogil=True)
def local_maxima(score: np.ndarray, mask: np.ndarray, offsets: np.ndarray, tolerance: int) -> np.ndarray:
    """Mark the pixels of a mask that no pixel at one of the offsets exceeds by more than ``tolerance``.

    Args:
        score: uint8 (H, W).
        mask: uint8 (H, W), 0 or 1.
        offsets: int64 (k, 2), rows and columns, the nearest first: those rule out nearly all pixels.
        tolerance: in units of the score.

    Returns:
        uint8 (H, W), 0 or 1.
    """
    height, width = score.shape
    maxima = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                highest, is_maximum = int(score[y, x]) + tolerance, True
                for k in range(len(offsets)):
                    v, u = y + offsets[k, 0], x + offsets[k, 1]
                    if 0 <= v < height and 0 <= u < width and score[v, u] > highest:
                        is_maximum = False
                        break
                maxima[y, x] = is_maximum
    return maxima
