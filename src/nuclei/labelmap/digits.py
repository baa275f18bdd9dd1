"""Numbers to text and back, a whole image at a time."""

from __future__ import annotations

import numba
import numpy as np

COMMA, SPACE, LINE = ord(","), ord(" "), ord("\n")


@numba.njit(cache=True, nogil=True)
def write_rows(prefix: np.ndarray, numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Write one line for each nucleus that has runs: the prefix, then its numbers with a space between them.

    Args:
        prefix: uint8 (p,), text.
        numbers: int64 (2k,), 1 or more.
        ends: int64 (n + 2,): nucleus i has the numbers ``2 * ends[i]`` to ``2 * ends[i + 1]``.

    Returns:
        uint8 (b,), text.
    """
    text, n = np.empty(20 * len(numbers) + (len(prefix) + 1) * len(ends), np.uint8), 0
    for row in range(1, len(ends) - 1):
        if ends[row] < ends[row + 1]:
            text[n : n + len(prefix)] = prefix
            n += len(prefix)
            for number in numbers[2 * ends[row] : 2 * ends[row + 1]]:
                n = _write(number, text, n)
                text[n], n = SPACE, n + 1
            text[n - 1] = LINE  # instead of the last space
    return text[:n]


@numba.njit(cache=True, nogil=True)
def _write(number: int, text: np.ndarray, n: int) -> int:
    """Write a number of 1 or more at ``n``; return where it ends."""
    end, rest = n, number
    while rest:
        rest, end = rest // 10, end + 1
    for at in range(end - 1, n - 1, -1):
        text[at] = ord("0") + number % 10
        number //= 10
    return end


@numba.njit(cache=True, nogil=True)
def read_rows(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read lines of whole numbers of at most 18 digits, with single spaces between them.

    Args:
        text: uint8 (b,), each line with its line end.

    Returns:
        int64 (k,), all numbers; int64 (n,), how many each line has; and whether the text is of this form. If
        it is not, the rest means nothing.
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
