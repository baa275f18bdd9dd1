"""Watershed of an 8-bit map by flooding from markers, its result independent of flips and rotations.

Pixels wait in a queue of 256 buckets, one for each level, so the time is linear in the number of pixels
(Beucher and Meyer 1993). Images are flat and have a rim, as in ``regions``. Maps are blended before, in one
pass, in float32 and rounded only once.
"""

from __future__ import annotations

import numpy as np

from nuclei.labelmap import compiled
from nuclei.labelmap.regions import add_rim, flagged, label_regions, remove_rim

CHUNK = 4096
"""Pixels that are summed up at a time, so that their sums stay in the fastest cache."""


@compiled
def weighted_mean(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of uint8 (members, n) maps, rounded to uint8 (n,), halves to the even number.

    The weights are float32 (members,) with the sum 1; maps with the weight 0 are not read.
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


@compiled
def marker_score(
    nucleus: np.ndarray,
    border: np.ndarray,
    distance: np.ndarray,
    border_weight: float,
    distance_weight: float,
) -> np.ndarray:
    """Blend uint8 (H, W) maps into the score of ``nuclei.postprocess.watershed.MapWatershed``, uint8 too."""
    score = np.empty(nucleus.shape, np.uint8)
    b, d, rest = np.float32(border_weight), np.float32(distance_weight), np.float32(1 - distance_weight)
    zero, half, top = np.float32(0), np.float32(0.5), np.float32(255)
    out, n, e, c = score.ravel(), nucleus.ravel(), border.ravel(), distance.ravel()
    for i in range(out.size):
        inner = max(np.float32(n[i]) - b * np.float32(e[i]), zero)
        out[i] = np.uint8(min(rest * inner + d * np.float32(c[i]) + half, top))
    return score


@compiled
def local_maxima(score: np.ndarray, mask: np.ndarray, offsets: np.ndarray, tolerance: int) -> np.ndarray:
    """Mark the pixels of a mask whose score no pixel at an offset exceeds by more than ``tolerance``.

    Images are uint8 (H, W). The offsets are int64 (k, 2), rows and columns, the nearest first: those rule out
    nearly all pixels.
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


@compiled
def flood(score: np.ndarray, seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow each marker over the mask, highest score first.

    A pixel is reached at the level of its score, or at the level of the flood that reaches it if that is
    lower; within a level the flood advances by one pixel everywhere at once. A pixel that is reached joins
    the neighbour with the highest score; among equals the larger marker, then the one with the smaller
    signature. None of this depends on the order of the pixels. Two markers that are still equal are mirror
    images of each other, and no rule could decide between them: such a pixel stays background.

    Args:
        score, mask: uint8 (H, W), the mask 0 or 1.
        seeds: uint8 (H, W), 0 or 1; each 4-connected region within the mask is one marker.

    Returns:
        int32 (H, W), 1..N: one object for each marker, then one for each region that no marker reaches.
    """
    height, width = mask.shape
    free, levels = add_rim(mask), add_rim(score)
    marked = add_rim(seeds) & free
    free ^= marked  # pixels of the mask that have no label and wait in no bucket
    labels, marker_pixels = np.zeros(free.size, np.int32), flagged(marked)
    n = label_regions(marked, marker_pixels, labels, 0, width + 2)
    sizes, signatures = _signatures(levels, marker_pixels, labels, n, height, width)
    _grow(levels, marker_pixels, free, labels, sizes, signatures, width + 2)
    label_regions(free, flagged(free), labels, n, width + 2)
    return remove_rim(labels, height, width)


@compiled
def _signatures(
    levels: np.ndarray, marker_pixels: np.ndarray, labels: np.ndarray, n: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the size and a hash of each marker, int64 (n + 1,) each, index 0 unused.

    The hash is a sum of hashes of each pixel's score and of its distances from the two middle lines of the
    image, whichever is which: flips and rotations of the image change neither size nor hash.
    """
    sizes, signatures = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for i in marker_pixels:
        y = (2 * (i // (width + 2)) - height - 1) ** 2
        x = (2 * (i % (width + 2)) - width - 1) ** 2
        sizes[labels[i]] += 1
        signatures[labels[i]] += symmetric_hash(levels[i], y, x)
    return sizes, signatures


@compiled
def symmetric_hash(score: int, y: int, x: int) -> int:
    """Hash a score and two squared distances to int64, the same if the two distances are exchanged."""
    mixed = (x + y) * 0x1E3779B97F4A7C15 + (x * y) * 0x2545F4914F6CDD1D + score * 0x3C79AC492BA7B653
    mixed = (mixed ^ (mixed >> 29)) * 0x1C69B3F74AC4AE35  # overflow is part of the hash
    return mixed ^ (mixed >> 32)


@compiled
def _grow(
    levels: np.ndarray,
    marker_pixels: np.ndarray,
    free: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    signatures: np.ndarray,
    width: int,
) -> None:
    """Grow the markers over the free pixels; write to ``free`` and ``labels``."""
    # A bucket is a linked list: its head, and for each pixel in it the next one; 0, in the rim, ends it.
    heads, following = np.zeros(256, np.int32), np.empty(labels.size, np.int32)
    wave = np.empty(free.sum(), np.int32)
    wave_labels = np.empty_like(wave)
    for i in marker_pixels:
        _push(i, 255, levels, free, heads, following, width)
    for level in range(255, -1, -1):
        while heads[level]:
            n, i = 0, heads[level]
            while i:
                wave[n], wave_labels[n] = i, _best_label(i, levels, labels, sizes, signatures, width)
                n, i = n + 1, following[i]
            heads[level] = 0
            for k in range(n):  # not before, so that the whole wave sees the same labels
                labels[wave[k]] = wave_labels[k]
            for k in range(n):
                _push(wave[k], level, levels, free, heads, following, width)


@compiled
def _push(
    i: int,
    level: int,
    levels: np.ndarray,
    free: np.ndarray,
    heads: np.ndarray,
    following: np.ndarray,
    width: int,
) -> None:
    """Put the neighbours of pixel ``i`` that are still free into the buckets."""
    for step in (-width, -1, 1, width):
        j = i + step
        if free[j]:
            bucket = min(level, levels[j])
            free[j] = 0
            following[j], heads[bucket] = heads[bucket], j


@compiled
def _best_label(
    i: int, levels: np.ndarray, labels: np.ndarray, sizes: np.ndarray, signatures: np.ndarray, width: int
) -> int:
    """Return the neighbours' label that pixel ``i`` joins, 0 if two are equal or no neighbour has one."""
    highest = -1
    for step in (-width, -1, 1, width):
        if labels[i + step] > 0:
            highest = max(highest, levels[i + step])
    best, tie = 0, False
    for step in (-width, -1, 1, width):
        label = labels[i + step]
        if label > 0 and levels[i + step] == highest and label != best:
            lead = sizes[label] - sizes[best] if best else 1
            if lead == 0:
                lead = np.int64(signatures[label] < signatures[best]) - np.int64(
                    signatures[label] > signatures[best]
                )
            if lead >= 0:
                best, tie = label, lead == 0
    return 0 if tie else best
