"""Objects of label maps: pixel sums, scores by decision trees, and the choice among overlapping objects.

Pixel sums are integers and treat the four neighbours alike, so flips and rotations do not change them.
"""

from __future__ import annotations

import numpy as np

from nuclei.labelmap.compiled import compiled

N_SHAPE_SUMS = 12
"""Columns of ``object_sums`` before those of the maps."""


@compiled
def object_sums(labels: np.ndarray, n: int, maps: np.ndarray) -> np.ndarray:
    """Add up the pixels of each object, in one pass.

    Args:
        labels: int32 (H, W), 0 to n.
        n: the highest label.
        maps: uint8 (C, H, W).

    Returns:
        int64 (n + 1, 12 + 3 C), row 0 unused. Columns: 0 area; 1 to 5 the sums of y, x, y², x² and y x; 6
        pixels with a neighbour of another label; 7 pixels with a neighbour in another object; 8 edges at
        the image's border; 9 the sum of the squares of the first map; 10 pairs of a pixel and a neighbour in
        the background; 11 the sum of the first map over these neighbours. Then for each map its sum, its sum
        over the pixels of column 6, and its highest value.
    """
    count, height, width = maps.shape
    sums = np.zeros((n + 1, N_SHAPE_SUMS + 3 * count), np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label == 0:
                continue
            row = sums[label]
            edge, touches = False, False
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                v, u = y + dy, x + dx
                if not (0 <= v < height and 0 <= u < width):
                    row[8] += 1
                elif labels[v, u] != label:
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
                column = N_SHAPE_SUMS + 3 * c
                row[column] += value
                row[column + 1] += value * edge
                row[column + 2] = max(row[column + 2], value)
    return sums


@compiled
def select_best_first(
    layers: np.ndarray, object_layers: np.ndarray, object_labels: np.ndarray, max_overlap: float
) -> np.ndarray:
    """Copy objects of several label maps into one, the best first; skip those that are mostly covered.

    Args:
        layers: int32 (K, n), flat label maps.
        object_layers, object_labels: int64 (k,), the label map and the label of each object, best first.
        max_overlap: share of an object that earlier objects may cover; the object gets the rest.

    Returns:
        int32 (n,), 1..N in that order.
    """
    n_layers, size = layers.shape
    ends = np.zeros((n_layers, layers.max() + 2), np.int64)
    pixels = np.empty((n_layers, size), np.int32)
    for k in range(n_layers):
        for i in range(size):
            ends[k, layers[k, i] + 1] += 1
        for m in range(1, ends.shape[1]):
            ends[k, m] += ends[k, m - 1]
        for i in range(size):  # a counting sort; ends[k, m] moves to the end of object m
            label = layers[k, i]
            pixels[k, ends[k, label]] = i
            ends[k, label] += 1
    selected, n = np.zeros(size, np.int32), 0
    for j in range(len(object_labels)):
        k, m = object_layers[j], object_labels[j]
        object_pixels = pixels[k, ends[k, m - 1] : ends[k, m]]
        covered = 0
        for i in object_pixels:
            covered += selected[i] > 0
        if covered <= max_overlap * len(object_pixels) and covered < len(object_pixels):
            n += 1
            for i in object_pixels:
                if selected[i] == 0:
                    selected[i] = n
    return selected


@compiled
def sum_of_trees(
    rows: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """Return the sum of the leaves that each row reaches in many binary decision trees.

    Args:
        rows: float32 (n, features).
        roots: int32 (trees,), the first node of each tree.
        features: int32 (nodes,), the feature that a node compares.
        thresholds: float64 (nodes,), the highest value that goes left.
        left, right: int32 (nodes,), the next node; a negative number ``~i`` means leaf i.
        leaves: float64 (leaves,), their values.

    Returns:
        float64 (n,).
    """
    total = np.zeros(len(rows))
    for i in range(len(rows)):
        for root in roots:
            node = root
            while node >= 0:
                node = left[node] if rows[i, features[node]] <= thresholds[node] else right[node]
            total[i] += leaves[~node]
    return total
