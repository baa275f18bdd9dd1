"""The competition's run-length code.

Pixels are numbered from 1, top to bottom, then left to right. A nucleus is a row of ``start length``
pairs, ascending and not touching: a run that reaches the foot of a column goes on at the head of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nuclei.errors import UserError


def encode(labels: np.ndarray) -> list[np.ndarray]:
    """Return the runs of every nucleus, in the order of the labels.

    Args:
        labels: integers (H, W); 0 is background. A number that no pixel has gives no row.

    Returns:
        For each nucleus an int64 array (2k,): start, length, start, length …

    Raises:
        ValueError: ``labels`` is not two-dimensional, not of integers, or has negative numbers.

    >>> [row.tolist() for row in encode(np.array([[1, 0, 2], [1, 0, 0], [0, 1, 0]]))]
    [[1, 2, 6, 1], [7, 1]]
    """
    pairs, ends = runs(labels)
    cuts = ends.tolist()
    return [pairs[2 * a : 2 * b] for a, b in pairwise(cuts[1:]) if a < b]


def runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of all nuclei in one array: int64 (2k,), and int64 (n + 2,) where those of each end.

    Nucleus i has the runs, pairs of numbers, ``ends[i]`` to ``ends[i + 1]``. For the rest see ``encode``.
    """
    # numba starts slowly, and the validator, which reads but never encodes, must not.
    from nuclei.labelmap.regions import compact_labels
    from nuclei.labelmap.run_lengths import column_run_starts, sort_by_nucleus

    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(f"expected integer labels (H, W), got {labels.dtype} {labels.shape}")
    if labels.size == 0:
        return np.zeros(0, np.int64), np.zeros(2, np.int64)
    starts = column_run_starts(np.ascontiguousarray(labels))
    column, row = np.divmod(starts, labels.shape[0])
    pairs, ends = sort_by_nucleus(starts, compact_labels(labels[row, column]), labels.size)
    return pairs.ravel(), ends


def to_text(runs: np.ndarray) -> str:
    """Return one nucleus' runs as the submission's second field, for example ``"1 2 6 1"``."""
    return " ".join(map(str, runs.tolist()))


def to_lines(image_id: str, labels: np.ndarray) -> bytes:
    """Return the rows of an image as they stand in a submission, one line for each nucleus, at least one.

    >>> to_lines("a", np.array([[1, 0, 2], [1, 0, 0], [0, 1, 0]]))
    b'a,1 2 6 1\\na,7 1\\n'
    """
    from nuclei.labelmap.run_lengths import write_rows

    prefix = f"{image_id},".encode()
    return write_rows(np.frombuffer(prefix, np.uint8), *runs(labels)).tobytes() or prefix + b"\n"


def decode(
    rows: Sequence[str | np.ndarray], shape: tuple[int, int], allow_overlap: bool = False
) -> np.ndarray:
    """Return the label map that ``rows`` describe, the inverse of ``encode``.

    Args:
        rows: one text or integer array of ``start length`` pairs for each nucleus.
        shape: height and width of the image.
        allow_overlap: where rows share pixels let the smaller nucleus keep them, as ``prepare`` does with
            masks; Kaggle's own truth has a few such pixels.

    Returns:
        int32 (H, W), 0 for background, ``n`` for the n-th row.

    Raises:
        UserError: a row is empty, has an odd count or something that is no whole number, leaves the image,
            or shares a pixel with another row. Rows are counted from 1.

    >>> decode(["1 2 6 1", "7 1"], (3, 3))
    array([[1, 0, 2],
           [1, 0, 0],
           [0, 1, 0]], dtype=int32)
    """
    from nuclei.labelmap.run_lengths import paint_runs

    starts, lengths, owners = _runs(rows)
    _check_bounds(starts, lengths, owners, shape)
    areas = np.bincount(owners, lengths).astype(np.int64)
    labels, twice = paint_runs(starts, lengths, owners, areas, *shape)
    if twice and not allow_overlap:
        _name_overlap(starts, lengths, owners)
    return labels


def _runs(rows: Sequence[str | np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read rows: int64 (k,) starts, lengths, and the numbers of the rows, from 1."""
    pairs, counts = _quick(rows) or _careful(rows)
    owners = np.repeat(np.arange(1, len(rows) + 1), counts)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]), owners


def _quick(rows: Sequence[str | np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Read texts of good form: int64 (k, 2), and how many pairs each row has; None where any is not so."""
    from nuclei.labelmap.run_lengths import read_rows

    if not all(isinstance(row, str) for row in rows):
        return None
    text = "".join([f"{row}\n" for row in rows]).encode()
    numbers, counts, good = read_rows(np.frombuffer(text, np.uint8))
    if not good or len(counts) != len(rows) or (counts % 2).any():
        return None
    return numbers.reshape(-1, 2), counts // 2


def _careful(rows: Sequence[str | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read rows one by one, to say which is wrong."""
    pairs = [_pairs(row, n) for n, row in enumerate(rows, 1)]
    return np.concatenate([np.zeros((0, 2), np.int64), *pairs]), np.array([len(p) for p in pairs], np.int64)


def _pairs(row: str | np.ndarray, n: int) -> np.ndarray:
    """Return one row as int64 (k, 2)."""
    try:
        numbers = np.array([int(word) for word in row.split()] if isinstance(row, str) else row, np.int64)
    except (ValueError, OverflowError) as e:
        raise UserError(f"row {n}: expected whole numbers 'start length …', got {str(row)[:60]!r}") from e
    if numbers.size == 0 or numbers.size % 2:
        raise UserError(f"row {n}: expected pairs 'start length …', got {numbers.size} numbers")
    return numbers.reshape(-1, 2)


def _check_bounds(starts: np.ndarray, lengths: np.ndarray, owner: np.ndarray, shape: tuple[int, int]) -> None:
    area = shape[0] * shape[1]
    # 'lengths > area - starts + 1' and not 'starts + lengths > area + 1': the sum of huge numbers would wrap.
    bad = np.flatnonzero((starts < 1) | (lengths < 1) | (starts > area) | (lengths > area - starts + 1))
    if bad.size:
        i = bad[0]
        raise UserError(
            f"row {owner[i]}: run '{starts[i]} {lengths[i]}' leaves the image of {shape[0]}x{shape[1]}, "
            f"whose pixels are 1 to {area}"
        )


def _name_overlap(starts: np.ndarray, lengths: np.ndarray, owners: np.ndarray) -> None:
    """Raise for the first pixel that two runs share."""
    pixels = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    order = np.argsort(pixels, kind="stable")
    twice = np.flatnonzero(np.diff(pixels[order]) == 0)[0]
    first, second = np.repeat(owners, lengths)[order[twice : twice + 2]]
    raise UserError(f"rows {first} and {second} overlap at pixel {pixels[order[twice]]}")
