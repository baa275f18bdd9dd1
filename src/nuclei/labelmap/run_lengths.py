"""The runs of every nucleus down the columns of a label map."""

from __future__ import annotations

import numba
import numpy as np

from nuclei.labelmap.label_pairs import gather


@numba.njit(cache=True, nogil=True)
def column_runs(labels: np.ndarray) -> np.ndarray:
    """Return where, down the columns, the number changes.

    The map is read as it lies in memory, row by row; a counting sort then orders the places by column.

    Args:
        labels: integers (H, W), C-ordered, at least one pixel.

    Returns:
        int64 (k,), each ``column * H + row``, ascending, the first is 0.
    """
    height, width = labels.shape
    places, n = np.empty(labels.size + 1, np.int64), 0
    flags = np.zeros(-(-width // 8) * 8, np.uint8)
    flags[0] = 1
    for c in range(1, width):  # the head of a column comes after the foot of the one before
        flags[c] = labels[0, c] != labels[height - 1, c - 1]
    n = gather(flags, 0, places, n)
    for r in range(1, height):
        above, below = labels[r - 1], labels[r]
        for c in range(width):
            flags[c] = above[c] != below[c]
        n = gather(flags, r * width, places, n)
    return _by_column(places[:n], height, width)


@numba.njit(cache=True, nogil=True)
def _by_column(places: np.ndarray, height: int, width: int) -> np.ndarray:
    """Turn ``row * width + column``, ascending, into ``column * height + row``, ascending."""
    ends = np.zeros(width + 1, np.int64)
    for place in places:
        ends[place % width + 1] += 1
    ends = np.cumsum(ends)
    ordered = np.empty(len(places), np.int64)
    for place in places:
        row, column = divmod(place, width)
        ordered[ends[column]] = column * height + row
        ends[column] += 1
    return ordered


@numba.njit(cache=True, nogil=True)
def by_owner(starts: np.ndarray, owners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort the runs by nucleus, those of one in the order of their pixels.

    Args:
        starts: int64 (k,), what ``column_runs`` gave.
        owners: int64 (k,), the number there, 0 for background; none much above k.
        size: number of pixels.

    Returns:
        int64 (j, 2), start from 1 and length; and int64 (owners.max() + 2,): the runs of nucleus n are the
        rows ``ends[n]`` to ``ends[n + 1]``.
    """
    ends = np.zeros(owners.max() + 3, np.int64)
    for owner in owners:
        ends[owner + 2] += owner > 0
    ends = np.cumsum(ends)
    runs = np.empty((ends[-1], 2), np.int64)
    for i in range(len(starts)):
        if owners[i]:
            at = ends[owners[i] + 1]
            runs[at, 0] = starts[i] + 1
            runs[at, 1] = (starts[i + 1] if i + 1 < len(starts) else size) - starts[i]
            ends[owners[i] + 1] += 1
    return runs, ends[:-1]
