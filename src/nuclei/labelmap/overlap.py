"""The pixels that the objects of two label maps share."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def matches(
    lengths: np.ndarray, truth: np.ndarray, prediction: np.ndarray, twentieths: np.ndarray
) -> np.ndarray:
    """Count TP, FP and FN above each IoU, in integers.

    Args:
        lengths: int64 (k,), pixels of each run in which neither map changes.
        truth, prediction: int64 (k,), the number of each run, 0 for background; none much above k.
        twentieths: int64 (t,), the IoUs, 0.50 or more.

    Returns:
        int64 (t, 3).
    """
    true_area, predicted_area = np.zeros(truth.max() + 1, np.int64), np.zeros(prediction.max() + 1, np.int64)
    base = len(predicted_area)
    for i in range(len(lengths)):
        true_area[truth[i]] += lengths[i]
        predicted_area[prediction[i]] += lengths[i]
    keys, shared = _shared(lengths, truth, prediction, base)
    counts = np.zeros((len(twentieths), 3), np.int64)
    for at in np.flatnonzero(keys):
        union = true_area[keys[at] // base] + predicted_area[keys[at] % base] - shared[at]
        for k in range(len(twentieths)):
            # Strictly above: an IoU that equals a threshold is no match.
            counts[k, 0] += shared[at] * 20 > twentieths[k] * union
    counts[:, 1] = np.count_nonzero(predicted_area[1:]) - counts[:, 0]
    counts[:, 2] = np.count_nonzero(true_area[1:]) - counts[:, 0]
    return counts


@numba.njit(cache=True, nogil=True)
def _shared(
    lengths: np.ndarray, truth: np.ndarray, prediction: np.ndarray, base: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of ``_share``, large enough."""
    keys, shared = np.zeros(1024, np.int64), np.zeros(1024, np.int64)
    done = _share(lengths, truth, prediction, base, keys, shared)
    while not done:  # the hash is too full
        keys, shared = np.zeros(4 * len(keys), np.int64), np.zeros(4 * len(keys), np.int64)
        done = _share(lengths, truth, prediction, base, keys, shared)
    return keys, shared


@numba.njit(cache=True, nogil=True)
def _share(
    lengths: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    base: int,
    keys: np.ndarray,
    shared: np.ndarray,
) -> bool:
    """Add up the pixels of each pair of nuclei in an open hash; return whether it had room.

    Args:
        lengths, truth, prediction: as for ``matches``.
        base: keys are ``base * truth + prediction``.
        keys: int64 (2 ** k,), 0 for a free slot: a pair of two nuclei has another key.
        shared: int64 (2 ** k,).
    """
    room, last = len(keys) // 2, len(keys) - 1
    for i in range(len(lengths)):
        if truth[i] * prediction[i] > 0:
            key = truth[i] * base + prediction[i]
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


@numba.njit(cache=True, nogil=True)
def best_ious(lengths: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the IoU of each object with that of the other label map which fits it best.

    Args:
        lengths, a, b: as for ``matches``.

    Returns:
        float64 (a.max() + 1,) and (b.max() + 1,), 0 where nothing overlaps.
    """
    area_a, area_b = np.zeros(a.max() + 1, np.int64), np.zeros(b.max() + 1, np.int64)
    base = len(area_b)
    for i in range(len(lengths)):
        area_a[a[i]] += lengths[i]
        area_b[b[i]] += lengths[i]
    keys, shared = _shared(lengths, a, b, base)
    best_a, best_b = np.zeros(len(area_a)), np.zeros(base)
    for at in np.flatnonzero(keys):
        i, j = keys[at] // base, keys[at] % base
        iou = shared[at] / (area_a[i] + area_b[j] - shared[at])
        best_a[i], best_b[j] = max(best_a[i], iou), max(best_b[j], iou)
    return best_a, best_b
