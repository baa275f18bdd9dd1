"""Many objects at once: what the pixels of each add up to, and which of several that overlap may stay.

All sums are of integers and look at the four neighbours alike, so they are the same however the image lies.
"""

from __future__ import annotations

import numba
import numpy as np

SHAPE = 12
"""Columns of ``sums`` before those of the maps."""


@numba.njit(cache=True, nogil=True)
def sums(labels: np.ndarray, n: int, maps: np.ndarray) -> np.ndarray:
    """Add up the pixels of each object.

    Args:
        labels: int32 (H, W), 0 to n.
        n: the highest number.
        maps: uint8 (C, H, W).

    Returns:
        int64 (n + 1, 12 + 3 C); row 0 is not used. The columns: area; sums of y, x, y * y, x * x and y * x;
        pixels with another neighbour; with a neighbour in another object; at the image's edge; the sum of
        squares of the first map; the background pixels that are neighbours, one for each pair, and the sum of
        the first map there. Then for each map its sum, that of the pixels with another neighbour, and the
        highest value.
    """
    count, height, width = maps.shape
    total = np.zeros((n + 1, SHAPE + 3 * count), np.int64)
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            if own == 0:
                continue
            row = total[own]
            edge, touches = False, False
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                v, u = y + dy, x + dx
                if not (0 <= v < height and 0 <= u < width):
                    row[8] += 1
                elif labels[v, u] != own:
                    edge = True
                    if labels[v, u]:
                        touches = True
                    else:
                        row[10] += 1
                        row[11] += maps[0, v, u]
            first = np.int64(maps[0, y, x])
            row[0] += 1
            row[1] += y
            row[2] += x
            row[3] += y * y
            row[4] += x * x
            row[5] += y * x
            row[6] += edge
            row[7] += touches
            row[9] += first * first
            for c in range(count):
                value = np.int64(maps[c, y, x])
                at = SHAPE + 3 * c
                row[at] += value
                row[at + 1] += value * edge
                row[at + 2] = max(row[at + 2], value)
    return total


@numba.njit(cache=True, nogil=True)
def best_first(layers: np.ndarray, of_layer: np.ndarray, numbers: np.ndarray, share: float) -> np.ndarray:
    """Put objects into one label map, the best first; one that is covered too far is left out.

    Args:
        layers: int32 (K, n), label maps, flat.
        of_layer, numbers: int64 (k,), the objects in order: the label map and the number there.
        share: the part of an object that others may cover; it keeps the rest.

    Returns:
        int32 (n,), 1..N in that order.
    """
    layers_count, size = layers.shape
    ends = np.zeros((layers_count, layers.max() + 2), np.int64)
    pixels = np.empty((layers_count, size), np.int32)
    for k in range(layers_count):
        for i in range(size):
            ends[k, layers[k, i] + 1] += 1
        for m in range(1, ends.shape[1]):
            ends[k, m] += ends[k, m - 1]
        for i in range(size):  # as a counting sort does; ends[k, m] moves to the end of object m
            at = layers[k, i]
            pixels[k, ends[k, at]] = i
            ends[k, at] += 1
    found, n = np.zeros(size, np.int32), 0
    for j in range(len(numbers)):
        k, m = of_layer[j], numbers[j]
        own = pixels[k, ends[k, m - 1] : ends[k, m]]
        covered = 0
        for i in own:
            covered += found[i] > 0
        if covered <= share * len(own) and covered < len(own):
            n += 1
            for i in own:
                if found[i] == 0:
                    found[i] = n
    return found
