"""The pixels that the nuclei of two label maps share."""

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
    # An open hash of pairs: key 0 is a free slot, for only pairs of two nuclei are kept.
    base = len(predicted_area)
    keys, shared, filled = np.zeros(1024, np.int64), np.zeros(1024, np.int64), 0
    for i in range(len(lengths)):
        t, p = truth[i], prediction[i]
        true_area[t] += lengths[i]
        predicted_area[p] += lengths[i]
        if t > 0 and p > 0:
            if 2 * filled >= len(keys):
                keys, shared = _larger(keys, shared)
            slot = _slot(keys, t * base + p)
            if keys[slot] == 0:
                filled += 1
            keys[slot] = t * base + p
            shared[slot] += lengths[i]
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
def _slot(keys: np.ndarray, key: int) -> int:
    """Find the slot of a key, or the free one where it belongs; the number of slots is a power of two."""
    slot = ((key * 0x9E3779B1) >> 20) & (len(keys) - 1)
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


@numba.njit(cache=True, nogil=True)
def _larger(keys: np.ndarray, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the hash four times the slots."""
    more_keys, more_shared = np.zeros(4 * len(keys), np.int64), np.zeros(4 * len(keys), np.int64)
    for old in np.flatnonzero(keys):
        slot = _slot(more_keys, keys[old])
        more_keys[slot], more_shared[slot] = keys[old], shared[old]
    return more_keys, more_shared
