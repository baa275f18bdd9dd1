"""Where the numbers of label maps change: most pixels are like their neighbour, so all else works on runs."""

from __future__ import annotations

import numba
import numpy as np

CHUNK = 4096
"""Pixels compared before their flags are read: both stay in the fastest cache."""


@numba.njit(cache=True, nogil=True)
def pair_runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the runs in which neither map changes.

    Args:
        a, b: integers (n,), n at least 1.

    Returns:
        int64 (k,) each: the pixels of a run, its number in ``a``, and that in ``b``.
    """
    flags, places, n = np.zeros(CHUNK, np.uint8), np.empty(CHUNK + 1, np.int64), 1
    table = np.empty((4 * CHUNK, 3), np.int64)
    table[0, 0], table[0, 1], table[0, 2] = 0, a[0], b[0]
    for start in range(1, a.size, CHUNK):
        size = min(CHUNK, a.size - start)
        left_a, here_a = a[start - 1 : start - 1 + size], a[start : start + size]
        left_b, here_b = b[start - 1 : start - 1 + size], b[start : start + size]
        for k in range(size):
            flags[k] = (here_a[k] != left_a[k]) | (here_b[k] != left_b[k])
        flags[size:] = 0
        if n + CHUNK > len(table):
            table = np.concatenate((table, np.empty_like(table)))
        for place in places[: gather(flags, 0, places, 0)]:
            table[n, 0], table[n, 1], table[n, 2] = start + place, here_a[place], here_b[place]
            n += 1
    lengths = np.empty(n, np.int64)
    lengths[: n - 1], lengths[n - 1] = table[1:n, 0] - table[: n - 1, 0], a.size - table[n - 1, 0]
    return lengths, table[:n, 1].copy(), table[:n, 2].copy()


@numba.njit(cache=True, nogil=True)
def gather(flags: np.ndarray, offset: int, places: np.ndarray, n: int) -> int:
    """Write ``offset`` plus the index of each raised flag to ``places`` from ``n`` on; return the new n.

    Args:
        flags: uint8 (8 k,), 0 or 1, looked at eight at a time.
        offset: of the first flag.
        places: int64, with room for one more than are raised.
        n: how many it holds.
    """
    eights = flags.view(np.uint64)
    for i in range(eights.size):
        if eights[i]:
            for k in range(8 * i, 8 * i + 8):
                places[n] = offset + k  # without a branch: the next one writes over it
                n += flags[k]
    return n
