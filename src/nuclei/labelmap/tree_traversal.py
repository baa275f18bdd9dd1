"""The sum of many decision trees."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def sum_of_trees(
    rows: np.ndarray,
    roots: np.ndarray,
    feature: np.ndarray,
    value: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    """Walk each row down each tree and add up the leaves.

    Args:
        rows: float32 (n, features).
        roots: int32 (trees,), the first node of each.
        feature: int16 (nodes,), which to look at; -1 in a leaf.
        value: float32 (nodes,), of a leaf; elsewhere the highest that goes left.
        left, right: int32 (nodes,), the next nodes.

    Returns:
        float64 (n,).
    """
    total = np.zeros(len(rows))
    for i in range(len(rows)):
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = left[node] if rows[i, feature[node]] <= value[node] else right[node]
            total[i] += value[node]
    return total
