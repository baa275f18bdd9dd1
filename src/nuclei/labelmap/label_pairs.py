"""Where the numbers of label maps change: most pixels are like their neighbour, so all else works on runs."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def pair_runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the runs in which neither map changes.

    Args:
        a, b: integers (n,), n at least 1.

    Returns:
        int64 (k,) each: the pixels of a run, its number in ``a``, and that in ``b``.
    """
    flags = np.zeros(-(-a.size // 8) * 8, np.uint8)
    flags[0] = 1
    later, left_a, here_a, left_b, here_b = flags[1:], a[:-1], a[1:], b[:-1], b[1:]
    for k in range(here_a.size):
        later[k] = (here_a[k] != left_a[k]) | (here_b[k] != left_b[k])
    starts = np.empty(flags.sum() + 1, np.int64)
    n = gather(flags, 0, starts, 0)
    starts[n] = a.size
    lengths, of_a, of_b = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        lengths[i], of_a[i], of_b[i] = starts[i + 1] - starts[i], a[starts[i]], b[starts[i]]
    return lengths, of_a, of_b


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
