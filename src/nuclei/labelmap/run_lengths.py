"""Run-length code of whole label maps: runs down the columns, their text, and back."""

from __future__ import annotations

import numpy as np

from nuclei.labelmap import compiled
from nuclei.labelmap.regions import append_flagged

SPACE, LINE = ord(" "), ord("\n")


@compiled
def column_run_starts(labels: np.ndarray) -> np.ndarray:
    """Return the pixels at which the label changes, going down the columns.

    The map, integers (H, W) with at least one pixel, is read as it lies in memory, row by row; a counting
    sort then orders the pixels by column.

    Returns:
        int64 (k,), each ``column * H + row``, ascending; the first is 0.
    """
    height, width = labels.shape
    starts, n = np.empty(labels.size + 1, np.int64), 0
    flags = np.zeros(-(-width // 8) * 8, np.uint8)
    flags[0] = 1
    for c in range(1, width):  # the head of a column comes after the foot of the one before
        flags[c] = labels[0, c] != labels[height - 1, c - 1]
    n = append_flagged(flags, 0, starts, n)
    for r in range(1, height):
        above, below = labels[r - 1], labels[r]
        for c in range(width):
            flags[c] = above[c] != below[c]
        n = append_flagged(flags, r * width, starts, n)
    return _sort_by_column(starts[:n], height, width)


@compiled
def _sort_by_column(indices: np.ndarray, height: int, width: int) -> np.ndarray:
    """Turn ascending ``row * width + column`` into ascending ``column * height + row``."""
    ends = np.zeros(width + 1, np.int64)
    for index in indices:
        ends[index % width + 1] += 1
    ends = np.cumsum(ends)
    ordered = np.empty(len(indices), np.int64)
    for index in indices:
        row, column = divmod(index, width)
        ordered[ends[column]] = column * height + row
        ends[column] += 1
    return ordered


@compiled
def sort_by_nucleus(starts: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort runs by nucleus, those of one nucleus in the order of their pixels.

    Args:
        starts: what ``column_run_starts`` returned.
        labels: int64 (k,), the label of each run, 0 for background; none is much above k.
        size: number of pixels of the map.

    Returns:
        int64 (j, 2), start from 1 and length; and int64 (labels.max() + 2,): the runs of nucleus n are the
        rows ``ends[n]`` to ``ends[n + 1]``.
    """
    ends = np.zeros(labels.max() + 3, np.int64)
    for label in labels:
        ends[label + 2] += label > 0
    ends = np.cumsum(ends)
    runs = np.empty((ends[-1], 2), np.int64)
    for i in range(len(starts)):
        if labels[i]:
            row = ends[labels[i] + 1]
            runs[row, 0] = starts[i] + 1
            runs[row, 1] = (starts[i + 1] if i + 1 < len(starts) else size) - starts[i]
            ends[labels[i] + 1] += 1
    return runs, ends[:-1]


@compiled
def paint_runs(
    starts: np.ndarray, lengths: np.ndarray, labels: np.ndarray, areas: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, bool]:
    """Paint runs, which lie within the image, into a label map.

    Where nuclei share pixels the smaller nucleus keeps them, of two equal ones the later.

    Args:
        starts, lengths: int64 (k,), starts from 1, down the columns.
        labels: int32 (k,), the nucleus of each run, from 1, ascending.
        areas: int64 (n + 1,), pixels of each nucleus.

    Returns:
        int32 (height, width), and whether any pixel was painted twice.
    """
    image, overlap = np.zeros((height, width), np.int32), False
    for i in range(len(starts)):
        x, y = divmod(starts[i] - 1, height)
        for _ in range(lengths[i]):
            before = image[y, x]
            overlap |= before > 0
            if before == 0 or areas[labels[i]] <= areas[before]:
                image[y, x] = labels[i]
            y += 1
            if y == height:
                x, y = x + 1, 0
    return image, overlap


@compiled
def write_rows(prefix: np.ndarray, numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Write one line for each nucleus that has runs: the prefix, then its numbers with spaces between them.

    Args:
        prefix: uint8 (p,), text.
        numbers: int64 (2k,), each 1 or more: start, length, start, length …
        ends: int64 (n + 2,): nucleus i has the numbers ``2 * ends[i]`` to ``2 * ends[i + 1]``.
    """
    text, n = np.empty(20 * len(numbers) + (len(prefix) + 1) * len(ends), np.uint8), 0
    for nucleus in range(1, len(ends) - 1):
        if ends[nucleus] < ends[nucleus + 1]:
            text[n : n + len(prefix)] = prefix
            n += len(prefix)
            for number in numbers[2 * ends[nucleus] : 2 * ends[nucleus + 1]]:
                n = _write_number(number, text, n)
                text[n], n = SPACE, n + 1
            text[n - 1] = LINE  # instead of the last space
    return text[:n]


@compiled
def _write_number(number: int, text: np.ndarray, n: int) -> int:
    """Write a number of 1 or more into ``text`` from ``n`` on; return its end."""
    end, rest = n, number
    while rest:
        rest, end = rest // 10, end + 1
    for i in range(end - 1, n - 1, -1):
        text[i] = ord("0") + number % 10
        number //= 10
    return end


@compiled
def read_rows(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read lines of whole numbers of at most 18 digits, with single spaces between them.

    The text is uint8 (b,); each line has its line end.

    Returns:
        int64 (k,), all numbers; int64 (n,), how many each line has; and whether the text has this form. If
        it has not, the numbers mean nothing.
    """
    numbers, counts = np.empty(len(text) // 2 + 1, np.int64), np.zeros(len(text), np.int64)
    n, line, number, digits = 0, 0, 0, 0
    for byte in text:
        if ord("0") <= byte <= ord("9"):
            number, digits = 10 * number + (byte - ord("0")), digits + 1
        elif byte in (SPACE, LINE) and 0 < digits <= 18:
            numbers[n], n, number, digits = number, n + 1, 0, 0
            counts[line] += 1
            line += byte == LINE
        else:
            return numbers, counts, False
    return numbers[:n], counts[:line], digits == 0
