"""Numbers of nuclei that can be used as indices."""

from __future__ import annotations

import numpy as np


def compact(numbers: np.ndarray) -> np.ndarray:
    """Return numbers as int64: as they are, or closed up, in their order, where one is very large.

    Args:
        numbers: integers (k,), the label of each run.

    Raises:
        ValueError: there are numbers below 0.

    >>> compact(np.array([0, 10**9, 7, 7]))
    array([0, 2, 1, 1])
    """
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    if low < 0:
        raise ValueError(f"expected integer labels of 0 or more, got {low}")
    if high <= 10 * numbers.size + 1000:
        return numbers.astype(np.int64, copy=False)
    names, at = np.unique(numbers, return_inverse=True)
    return at + int(names[0] != 0)  # without background the smallest number is a nucleus
