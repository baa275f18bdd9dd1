"""The watershed of an 8-bit map, by a queue of 256 buckets, the same however the image lies.

As in ``regions``, images are flat and have a rim.
"""

from __future__ import annotations

import numba
import numpy as np

from nuclei.labelmap.regions import components, places, rimmed, unrimmed


@numba.njit(cache=True, nogil=True)
def flood(score: np.ndarray, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow each marker over the mask, highest score first.

    A pixel is reached at the level of its score, or of the flood that reaches it if that is lower; within a
    level the flood advances by one pixel in all places at once. What is reached joins the neighbour with the
    highest score; among equals the larger marker, then the one with the smaller signature. Nothing of
    this depends on the order of the pixels. Two markers that are still equal are mirror images of each other,
    and then no rule could be fair: such a pixel stays background.

    Args:
        score: uint8 (H, W).
        seeds: uint8 (H, W), 0 or 1; each 4-connected region within the mask is one marker.
        mask: uint8 (H, W), 0 or 1.

    Returns:
        int32 (H, W), 1..N: one object for each marker, then one for each region that no marker reaches.
    """
    height, width = mask.shape
    free, heights = rimmed(mask), rimmed(score)
    marked = rimmed(seeds) & free
    free ^= marked  # what is in the mask, has no label, and waits in no bucket
    labels, pixels = np.zeros(free.size, np.int32), places(marked)
    n = components(marked, pixels, labels, 0, width + 2)
    sizes, signatures = _signatures(heights, pixels, labels, n, height, width)
    _grow(heights, pixels, free, labels, sizes, signatures, width + 2)
    components(free, places(free), labels, n, width + 2)
    return unrimmed(labels, height, width)


@numba.njit(cache=True, nogil=True)
def _signatures(
    heights: np.ndarray, inside: np.ndarray, labels: np.ndarray, n: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return size and a hash of each marker, index 0 unused; both the same when the image is turned over.

    The hash adds up, in any order, a hash of each pixel's score and of its distances from the two middle
    lines of the image, without regard to which is which.
    """
    sizes, signatures = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for i in inside:
        y = (2 * (i // (width + 2)) - height - 1) ** 2
        x = (2 * (i % (width + 2)) - width - 1) ** 2
        sizes[labels[i]] += 1
        signatures[labels[i]] += signature(heights[i], y, x)
    return sizes, signatures


@numba.njit(cache=True, nogil=True)
def signature(score: int, y: int, x: int) -> int:
    """Hash a score and two squared distances to int64; the two may be exchanged, and sums may overflow."""
    mixed = (x + y) * 0x1E3779B97F4A7C15 + (x * y) * 0x2545F4914F6CDD1D + score * 0x3C79AC492BA7B653
    mixed = (mixed ^ (mixed >> 29)) * 0x1C69B3F74AC4AE35
    return mixed ^ (mixed >> 32)


@numba.njit(cache=True, nogil=True)
def _grow(
    heights: np.ndarray,
    markers: np.ndarray,
    free: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    signatures: np.ndarray,
    width: int,
) -> None:
    """Let the markers, whose pixels are given, grow over what is free."""
    # A bucket is a chain: its head, and for each pixel in it the next one; the rim's 0 ends it.
    heads, following = np.zeros(256, np.int32), np.empty(labels.size, np.int32)
    wave = np.empty(free.sum(), np.int32)
    joins = np.empty_like(wave)
    for i in markers:
        _push(i, 255, heights, free, heads, following, width)
    for level in range(255, -1, -1):
        while heads[level]:
            n, i = 0, heads[level]
            while i:
                wave[n], joins[n] = i, _owner(i, heights, labels, sizes, signatures, width)
                n, i = n + 1, following[i]
            heads[level] = 0
            for k in range(n):  # only now, so that all of the wave saw the same labels
                labels[wave[k]] = joins[k]
            for k in range(n):
                _push(wave[k], level, heights, free, heads, following, width)


@numba.njit(cache=True, nogil=True)
def _push(
    i: int,
    level: int,
    heights: np.ndarray,
    free: np.ndarray,
    heads: np.ndarray,
    following: np.ndarray,
    width: int,
) -> None:
    """Put the neighbours of ``i`` that are still free into the buckets."""
    for step in (-width, -1, 1, width):
        j = i + step
        if free[j]:
            bucket = min(level, heights[j])
            free[j] = 0
            following[j], heads[bucket] = heads[bucket], j


@numba.njit(cache=True, nogil=True)
def _owner(
    i: int, heights: np.ndarray, labels: np.ndarray, sizes: np.ndarray, signatures: np.ndarray, width: int
) -> int:
    """Return the label that has the best claim to a pixel, 0 where two are equal or only ties are near."""
    highest = -1
    for step in (-width, -1, 1, width):
        if labels[i + step] > 0:
            highest = max(highest, heights[i + step])
    best, tie = 0, False
    for step in (-width, -1, 1, width):
        label = labels[i + step]
        if label > 0 and heights[i + step] == highest and label != best:
            ahead = sizes[label] - sizes[best] if best else 1
            if ahead == 0:
                ahead = np.int64(signatures[label] < signatures[best]) - np.int64(
                    signatures[label] > signatures[best]
                )
            if ahead >= 0:
                best, tie = label, ahead == 0
    return 0 if tie else best
