"""Pixels that the objects of two label maps share.

Most pixels have the label of their left neighbour, so everything here works on runs of equal pixels.
"""

from __future__ import annotations

import numpy as np

from nuclei.labelmap.compiled import compiled
from nuclei.labelmap.regions import append_flagged


@compiled
def pair_runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split two label maps into the runs in which neither of them changes.

    Args:
        a, b: integers (n,), n at least 1.

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
    """Return the highest IoU of each object with an object of the other label map.

    Args:
        lengths, a, b: as for ``count_matches``.

    Returns:
        float64 (a.max() + 1,) and (b.max() + 1,), by label; 0 where nothing overlaps.
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
    """Return the areas of all objects, and the pixels that each pair of objects shares.

    Args:
        lengths, a, b: as for ``count_matches``.

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

    Args:
        lengths, a, b: as for ``count_matches``.
        base: the key of a pair is ``base * a + b``.
        keys: int64 (2 ** k,), zeros, written to; a pair of two objects never has the key 0.
        shared: int64 (2 ** k,), zeros, written to.
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
