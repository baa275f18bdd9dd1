"""4-connected regions of masks and label maps.

Some functions take images with a rim: a zero around each side, flat, so that every pixel has four neighbours.
"""

from __future__ import annotations

import numpy as np

from nuclei.labelmap import compiled


@compiled
def add_rim(image: np.ndarray) -> np.ndarray:
    """Return a uint8 (H, W) image flat, with a rim of zeros, its length a multiple of eight."""
    height, width = image.shape
    flat = np.zeros(-(-(height + 2) * (width + 2) // 8) * 8, np.uint8)
    for y in range(height):  # row by row, or numba would not use vector instructions
        row, line = image[y], flat[(y + 1) * (width + 2) + 1 :]
        for x in range(width):
            line[x] = row[x]
    return flat


@compiled
def remove_rim(flat: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the (H, W) image of any dtype that ``add_rim`` made flat."""
    image = np.empty((height, width), flat.dtype)
    for y in range(height):
        row, line = image[y], flat[(y + 1) * (width + 2) + 1 :]
        for x in range(width):
            row[x] = line[x]
    return image


@compiled
def flagged(flags: np.ndarray) -> np.ndarray:
    """Return the indices, int64 (k,), of the ones among uint8 (8 n,) flags of 0 or 1."""
    indices = np.empty(flags.sum() + 1, np.int64)
    return indices[: append_flagged(flags, 0, indices, 0)]


@compiled
def append_flagged(flags: np.ndarray, offset: int, indices: np.ndarray, n: int) -> int:
    """Append the index of each 1 among uint8 (8 k,) flags to ``indices``, int64; return the new length.

    Eight zeros are skipped in one step. The first flag's index is ``offset``. There are ``n`` indices so far;
    they need room for one more than there are ones.
    """
    eights = flags.view(np.uint64)
    for i in range(eights.size):
        if eights[i]:
            for k in range(8 * i, 8 * i + 8):
                indices[n] = offset + k  # without a branch: the next index overwrites this one
                n += flags[k]
    return n


@compiled
def label_regions(free: np.ndarray, starts: np.ndarray, labels: np.ndarray, n: int, width: int) -> int:
    """Label the 4-connected regions of a mask from n + 1 on, by flood fill; return the last label.

    Args:
        free: uint8 mask of 0 or 1 with a rim; pixels that get a label are set to 0.
        starts: int64 (k,), indices; only regions that hold one of them are labelled.
        labels: int32 with a rim, written to.
        width: of the image with its rim.
    """
    stack = np.empty(free.sum(), np.int32)
    for start in starts:
        if free[start]:
            n += 1
            free[start], labels[start], stack[0], top = 0, n, start, 1
            while top:
                top -= 1
                i = stack[top]
                for step in (-width, -1, 1, width):
                    j = i + step
                    if free[j]:
                        free[j], labels[j], stack[top] = 0, n, j
                        top += 1
    return n


@compiled
def regions_with_seed(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Keep the 4-connected regions of a mask that hold a seed; all three are uint8 (H, W), 0 or 1."""
    height, width = mask.shape
    free = add_rim(mask)
    before, labels = free.copy(), np.zeros(free.size, np.int32)
    label_regions(free, flagged(add_rim(seeds) & free), labels, 0, width + 2)
    return remove_rim(before ^ free, height, width)


@compiled
def remove_small_objects(labels: np.ndarray, highest: int, min_area: int) -> np.ndarray:
    """Remove objects of fewer than ``min_area`` pixels, 1 or more, from int32 (n,) labels up to ``highest``.

    The gaps in the numbering are closed.
    """
    areas, new_labels, n = np.zeros(highest + 1, np.int64), np.zeros(highest + 1, np.int32), 0
    for label in labels:
        if label:
            areas[label] += 1
    for label in range(1, highest + 1):
        if areas[label] >= min_area:
            n += 1
            new_labels[label] = n
    kept = np.empty_like(labels)
    for i in range(labels.size):
        kept[i] = new_labels[labels[i]]
    return kept


@compiled
def squared_distances(mask: np.ndarray, limit: int) -> np.ndarray:
    """Return the squared Euclidean distance of each pixel to the nearest one outside the mask, exactly.

    The distance along the column comes first, then the minimum along the row (Saito and Toriwaki 1994). The
    search along the row ends at the best distance so far, so the time grows with the width of the objects.
    The mask is uint8 (H, W), 0 or 1, with no background beyond the image; the result is int32 (H, W).
    Distances greater than ``limit``, which is at most 254 pixels, count as ``limit``.
    """
    height, width = mask.shape
    in_column = np.full((height, width), limit, np.int32)
    for y in range(height):
        for x in range(width):
            above = in_column[y - 1, x] if y else limit
            in_column[y, x] = min(above + 1, limit) if mask[y, x] else 0
    for y in range(height - 2, -1, -1):
        for x in range(width):
            in_column[y, x] = min(in_column[y, x], in_column[y + 1, x] + 1)
    squares = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            nearest, k = in_column[y, x] ** 2, 1
            while k * k < nearest:
                if x >= k:
                    nearest = min(nearest, in_column[y, x - k] ** 2 + k * k)
                if x + k < width:
                    nearest = min(nearest, in_column[y, x + k] ** 2 + k * k)
                k += 1
            squares[y, x] = nearest
    return squares


def compact_labels(labels: np.ndarray, name: str = "labels") -> np.ndarray:
    """Return labels that can be used as indices, as int64.

    Labels, integers (k,), are kept as they are unless one is much larger than their count; then the gaps
    between them are closed, in their order.

    Raises:
        ValueError: a label is negative.

    >>> compact_labels(np.array([0, 10**9, 7, 7]))
    array([0, 2, 1, 1])
    """
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0:
        raise ValueError(f"{name}: expected integer labels of 0 or more, got {lowest}")
    if highest <= 10 * labels.size + 1000:
        return labels.astype(np.int64, copy=False)
    distinct, indices = np.unique(labels, return_inverse=True)
    return indices + int(distinct[0] != 0)  # 0 stays the background's even where there is none
