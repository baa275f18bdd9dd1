"""Runs to a label map."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def paint(
    starts: np.ndarray, lengths: np.ndarray, owners: np.ndarray, areas: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, bool]:
    """Paint runs that lie within the image; where nuclei share pixels the smaller keeps them, else the later.

    Args:
        starts, lengths: int64 (k,), starts from 1, down the columns.
        owners: int32 (k,), from 1, ascending.
        areas: int64 (n + 1,), pixels of each nucleus.

    Returns:
        int32 (height, width), and whether any pixel was painted twice.
    """
    labels, twice = np.zeros((height, width), np.int32), False
    for i in range(len(starts)):
        x, y = divmod(starts[i] - 1, height)
        for _ in range(lengths[i]):
            before = labels[y, x]
            twice |= before > 0
            if before == 0 or areas[owners[i]] <= areas[before]:
                labels[y, x] = owners[i]
            y += 1
            if y == height:
                x, y = x + 1, 0
    return labels, twice
