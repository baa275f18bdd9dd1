"""4-connected regions. Images are laid out flat, with a rim of zeros: every pixel has four neighbours."""

from __future__ import annotations

import numba
import numpy as np

from nuclei.labelmap.label_pairs import gather


@numba.njit(cache=True, nogil=True)
def rimmed(image: np.ndarray) -> np.ndarray:
    """Put a rim of zeros around a uint8 (H, W) image; return it flat, its length a multiple of eight."""
    height, width = image.shape
    flat = np.zeros(-(-(height + 2) * (width + 2) // 8) * 8, np.uint8)
    for y in range(height):  # row by row, or it would not be vector instructions
        row, line = image[y], flat[(y + 1) * (width + 2) + 1 :]
        for x in range(width):
            line[x] = row[x]
    return flat


@numba.njit(cache=True, nogil=True)
def unrimmed(flat: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo ``rimmed``, for any dtype."""
    image = np.empty((height, width), flat.dtype)
    for y in range(height):
        row, line = image[y], flat[(y + 1) * (width + 2) + 1 :]
        for x in range(width):
            row[x] = line[x]
    return image


@numba.njit(cache=True, nogil=True)
def places(flags: np.ndarray) -> np.ndarray:
    """Return the indices, int64 (k,), at which uint8 (8 n,) flags of 0 or 1 are raised."""
    found = np.empty(flags.sum() + 1, np.int64)
    return found[: gather(flags, 0, found, 0)]


@numba.njit(cache=True, nogil=True)
def components(free: np.ndarray, first: np.ndarray, labels: np.ndarray, n: int, width: int) -> int:
    """Number the 4-connected regions of what is free from n + 1 on, and take it; return the last number.

    Args:
        free: uint8 (rimmed), 0 or 1.
        first: int64 (k,), indices; only regions that hold one of them are numbered.
        labels: int32 (rimmed), written to.
        n: the last number that is in use.
        width: of the rimmed image.
    """
    stack = np.empty(free.sum(), np.int32)
    for start in first:
        if free[start]:
            n += 1
            free[start], labels[start], stack[0], top = 0, n, start, 1
            while top:
                top -= 1
                here = stack[top]
                for step in (-width, -1, 1, width):
                    j = here + step
                    if free[j]:
                        free[j], labels[j], stack[top] = 0, n, j
                        top += 1
    return n


@numba.njit(cache=True, nogil=True)
def reached(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """Keep the regions of ``weak`` that hold a pixel of ``strong``: uint8 (H, W), 0 or 1, all three."""
    height, width = weak.shape
    free = rimmed(weak)
    before, labels = free.copy(), np.zeros(free.size, np.int32)
    components(free, places(rimmed(strong) & free), labels, 0, width + 2)
    return unrimmed(before ^ free, height, width)


@numba.njit(cache=True, nogil=True)
def without_small(labels: np.ndarray, highest: int, least: int) -> np.ndarray:
    """Remove regions of fewer than ``least`` pixels and close up the numbers.

    Args:
        labels: int32 (n,), 0 to ``highest``.
        least: 1 or more; what has no pixel gets no number either.

    Returns:
        int32 (n,).
    """
    areas, numbers, n = np.zeros(highest + 1, np.int64), np.zeros(highest + 1, np.int32), 0
    for label in labels:
        if label:
            areas[label] += 1
    for label in range(1, highest + 1):
        if areas[label] >= least:
            n += 1
            numbers[label] = n
    kept = np.empty_like(labels)
    for i in range(labels.size):
        kept[i] = numbers[labels[i]]
    return kept


@numba.njit(cache=True, nogil=True)
def squared_distances(mask: np.ndarray, limit: int) -> np.ndarray:
    """Square the distance to the nearest pixel outside the mask: exact, in integers.

    Args:
        mask: uint8 (H, W), 0 or 1; beyond the image there is nothing.
        limit: in pixels, at most 254; whatever is farther counts as ``limit``.

    Returns:
        int32 (H, W), 0 to ``limit`` squared.
    """
    height, width = mask.shape
    along = np.full((height, width), limit, np.int32)  # the distance along the column
    for y in range(height):
        for x in range(width):
            above = along[y - 1, x] if y else limit
            along[y, x] = min(above + 1, limit) if mask[y, x] else 0
    for y in range(height - 2, -1, -1):
        for x in range(width):
            along[y, x] = min(along[y, x], along[y + 1, x] + 1)
    squares = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            nearest, k = along[y, x] ** 2, 1
            while k * k < nearest:
                if x >= k:
                    nearest = min(nearest, along[y, x - k] ** 2 + k * k)
                if x + k < width:
                    nearest = min(nearest, along[y, x + k] ** 2 + k * k)
                k += 1
            squares[y, x] = nearest
    return squares
