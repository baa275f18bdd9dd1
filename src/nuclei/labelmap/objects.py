"""Objects of label maps: sums of their pixels, pixels that two share, scores by trees, and a choice of them.

Sums are integers and treat the four neighbours alike, so flips and rotations do not change them. What two
label maps share is found on runs of equal pixels, since most pixels have the label of their left neighbour.
"""

from __future__ import annotations

import numpy as np

from nuclei.labelmap import compiled
from nuclei.labelmap.regions import append_flagged

N_SHAPE_SUMS = 12
"""Columns of ``object_sums`` before those of the maps."""


@compiled
def object_sums(labels: np.ndarray, n: int, maps: np.ndarray) -> np.ndarray:
    """Add up the pixels of each object, in one pass.

    The labels are int32 (H, W), 0 to n, the maps uint8 (C, H, W).

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
def pair_runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split two label maps, integers (n,) with at least one pixel, into the runs in which neither changes.

    Returns:
        int64 (k,) each: the length of each run in pixels, its label in ``a`` and its label in ``b``.
    """
    flags = np.zeros(-(-a.size // 8) * 8, np.uint8)
    flags[0] = 1
    later, left_a, right_a, left_b, right_b = flags[1:], a[:-1], a[1:], b[:-1], b[1:]
    for k in range(right_a.size):
        later[k] = (right_a[k] != left_a[k]) | (right_b[k] != left_b[k])
    starts = np.empty(flags.sum() + 1, np.int64)
    n = append_flagged(flags, 0, starts, 0)
    starts[n] = a.size
    lengths, labels_a, labels_b = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        lengths[i], labels_a[i], labels_b[i] = starts[i + 1] - starts[i], a[starts[i]], b[starts[i]]
    return lengths, labels_a, labels_b


@compiled
def count_matches(
    lengths: np.ndarray, truth: np.ndarray, prediction: np.ndarray, twentieths: np.ndarray
) -> np.ndarray:
    """Count true positives, false positives and false negatives above each IoU, in integers.

    Args:
        lengths, truth, prediction: int64 (k,), what ``pair_runs`` returned; 0 is background, and no label is
            much above k.
        twentieths: int64 (t,), the IoU thresholds times 20, each 10 or more.

    Returns:
        int64 (t, 3), TP, FP and FN.
    """
    true_areas, predicted_areas = _areas(lengths, truth), _areas(lengths, prediction)
    base = len(predicted_areas)
    keys, shared = _shared_pixels(lengths, truth, prediction, base)
    counts = np.zeros((len(twentieths), 3), np.int64)
    for slot in np.flatnonzero(keys):
        union = true_areas[keys[slot] // base] + predicted_areas[keys[slot] % base] - shared[slot]
        for k in range(len(twentieths)):
            # Strictly above: an IoU that equals a threshold is no match.
            counts[k, 0] += shared[slot] * 20 > twentieths[k] * union
    counts[:, 1] = np.count_nonzero(predicted_areas[1:]) - counts[:, 0]
    counts[:, 2] = np.count_nonzero(true_areas[1:]) - counts[:, 0]
    return counts


@compiled
def best_ious(lengths: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest IoU of each object with an object of the other label map, from ``pair_runs``.

    They are float64 (a.max() + 1,) and (b.max() + 1,), by label; 0 where nothing overlaps.
    """
    areas_a, areas_b = _areas(lengths, a), _areas(lengths, b)
    base = len(areas_b)
    keys, shared = _shared_pixels(lengths, a, b, base)
    best_a, best_b = np.zeros(len(areas_a)), np.zeros(base)
    for slot in np.flatnonzero(keys):
        i, j = keys[slot] // base, keys[slot] % base
        iou = shared[slot] / (areas_a[i] + areas_b[j] - shared[slot])
        best_a[i], best_b[j] = max(best_a[i], iou), max(best_b[j], iou)
    return best_a, best_b


@compiled
def shared_pairs(
    lengths: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the areas of all objects, and the pixels that each pair of objects shares, from ``pair_runs``.

    Returns:
        int64 (a.max() + 1,) and (b.max() + 1,), the areas by label, that of the background among them; and
        int64 (k, 3), ascending: label in ``a``, label in ``b`` and pixels of each pair that shares any.
    """
    areas_a, areas_b = _areas(lengths, a), _areas(lengths, b)
    base = len(areas_b)
    keys, shared = _shared_pixels(lengths, a, b, base)
    slots = np.flatnonzero(keys)
    slots = slots[np.argsort(keys[slots])]
    pairs = np.empty((len(slots), 3), np.int64)
    for k in range(len(slots)):
        pairs[k, 0], pairs[k, 1] = keys[slots[k]] // base, keys[slots[k]] % base
        pairs[k, 2] = shared[slots[k]]
    return areas_a, areas_b, pairs


@compiled
def _areas(lengths: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the pixels of each label, int64 (labels.max() + 1,), from runs."""
    areas = np.zeros(labels.max() + 1, np.int64)
    for i in range(len(lengths)):
        areas[labels[i]] += lengths[i]
    return areas


@compiled
def _shared_pixels(
    lengths: np.ndarray, a: np.ndarray, b: np.ndarray, base: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of each pair of objects in a hash table: keys, 0 for a free slot, and counts."""
    keys, shared = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
    while not _add_shared(lengths, a, b, base, keys, shared):  # the table is too full
        keys, shared = np.zeros(4 * len(keys), np.int64), np.zeros(4 * len(keys), np.int64)
    return keys, shared


@compiled
def _add_shared(
    lengths: np.ndarray, a: np.ndarray, b: np.ndarray, base: int, keys: np.ndarray, shared: np.ndarray
) -> bool:
    """Add up the pixels of each pair of objects in a hash table; return False if it is more than half full.

    Keys and pixels are int64 (2 ** k,), zeros, and written to. The key of a pair is ``base * a + b``, which
    is never 0 for two objects.
    """
    room, last = len(keys) // 2, len(keys) - 1
    for i in range(len(lengths)):
        if a[i] * b[i] > 0:
            key = a[i] * base + b[i]
            slot = ((key * 0x9E3779B1) >> 20) & last
            while keys[slot] != 0 and keys[slot] != key:
                slot = (slot + 1) & last
            if keys[slot] == 0:
                keys[slot] = key
                room -= 1
                if room == 0:
                    return False
            shared[slot] += lengths[i]
    return True


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
    """
    total = np.zeros(len(rows))
    for i in range(len(rows)):
        for root in roots:
            node = root
            while node >= 0:
                node = left[node] if rows[i, features[node]] <= thresholds[node] else right[node]
            total[i] += leaves[~node]
    return total
