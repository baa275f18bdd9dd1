"""The competition's run-length code.

Pixels are numbered from 1, top to bottom, then left to right. A nucleus is a row of ``start length``
pairs, ascending and not touching: a run that reaches the foot of a column goes on at the head of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nuclei.errors import UserError


class Runs(NamedTuple):
    """The runs of several nuclei, int64 (k,): row from 0, first pixel from 1, number of pixels."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def parse(cls, texts: list[str]) -> Runs:
        """Return the runs in rows of whole numbers, an even count in each, with single spaces between them.

        The standard library and numpy alone, for ``validate``; ``decode`` has a compiled reader.
        """
        pairs = np.fromstring(" ".join(filter(None, texts)), np.int64, sep=" ").reshape(-1, 2)
        counts = [(text.count(" ") + 1) // 2 if text else 0 for text in texts]
        return cls(np.repeat(np.arange(len(texts)), counts), pairs[:, 0], pairs[:, 1])

    def text(self, i: int | np.integer) -> str:
        """Return run ``i`` as it stands in a file, in quotes."""
        return f"'{self.start[i]} {self.length[i]}'"

    def beyond(self, area: int | np.ndarray) -> np.ndarray:
        """Return for each run whether it leaves an image of ``area`` pixels at the end, bool (k,)."""
        # Each number by itself first: the sum of two huge ones would wrap.
        return (self.start > area) | (self.length > area - np.minimum(self.start, area) + 1)


def encode(labels: np.ndarray) -> list[np.ndarray]:
    """Return the runs of every nucleus, by label: int64 (2k,) of start, length, start, length …

    The labels are integers (H, W), 0 for background; a number that no pixel has gives no row.

    Raises:
        ValueError: ``labels`` is not two-dimensional, not of integers, or has negative numbers.

    >>> [row.tolist() for row in encode(np.array([[1, 0, 2], [1, 0, 0], [0, 1, 0]]))]
    [[1, 2, 6, 1], [7, 1]]
    """
    pairs, ends = encode_flat(labels)
    return [pairs[2 * start : 2 * end] for start, end in pairwise(ends.tolist()[1:]) if start < end]


def encode_flat(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def to_lines(
    image_id: str, labels: np.ndarray, corner: tuple[int, int] = (0, 0), height: int | None = None
) -> bytes:
    """Return the rows of an image as they stand in a submission, one line for each nucleus, at least one.

    The labels are integers (H, W), 0 for background, of the whole image or of a part, whose first pixel is at
    ``corner``, (row, column), of an image of this ``height``; None takes that of the labels.

    >>> to_lines("a", np.array([[1, 0, 2], [1, 0, 0], [0, 1, 0]]))
    b'a,1 2 6 1\\na,7 1\\n'
    """
    from nuclei.labelmap.run_lengths import write_rows

    if height not in (None, labels.shape[0]):
        labels = np.pad(labels, ((0, 1), (0, 0)))  # so that no run goes on in the next column
    pairs, ends = encode_flat(labels)
    column, row = np.divmod(pairs[::2] - 1, max(labels.shape[0], 1))
    pairs[::2] = (column + corner[1]) * (height or labels.shape[0]) + row + corner[0] + 1
    prefix = f"{image_id},".encode()
    return write_rows(np.frombuffer(prefix, np.uint8), pairs, ends).tobytes() or prefix + b"\n"


def decode(
    rows: Sequence[str | np.ndarray], shape: tuple[int, int], allow_overlap: bool = False
) -> np.ndarray:
    """Return the label map, int32 (H, W) with ``n`` for the n-th row: the inverse of ``encode``.

    Args:
        rows: one text or integer array of ``start length`` pairs for each nucleus.
        shape: height and width of the image.
        allow_overlap: where rows share pixels let the smaller nucleus keep them, as ``prepare`` does with
            masks; the true nuclei that Kaggle published have a few such pixels.

    Raises:
        UserError: a row is empty, has an odd count or something that is no whole number, leaves the image,
            or shares a pixel with another row. Rows are counted from 1.

    >>> decode(["1 2 6 1", "7 1"], (3, 3))
    array([[1, 0, 2],
           [1, 0, 0],
           [0, 1, 0]], dtype=int32)
    """
    from nuclei.labelmap.run_lengths import paint_runs

    runs = _read(rows)
    _check_bounds(runs, shape)
    owners = runs.row + 1
    areas = np.bincount(owners, runs.length).astype(np.int64)
    labels, n_shared = paint_runs(runs.start, runs.length, owners, areas, *shape)
    if n_shared and not allow_overlap:
        _raise_overlap(runs)
    return labels


def _read(rows: Sequence[str | np.ndarray]) -> Runs:
    """Return the runs in rows: in texts of valid form by the compiled reader, else row by row."""
    from nuclei.labelmap.run_lengths import read_rows

    valid = all(isinstance(row, str) for row in rows)
    if valid:
        text = "".join([f"{row}\n" for row in rows]).encode()
        numbers, counts, valid = read_rows(np.frombuffer(text, np.uint8))
    if not valid or len(counts) != len(rows) or (counts % 2).any():
        values = [_read_row(row, number) for number, row in enumerate(rows, 1)]
        numbers = np.concatenate([np.zeros(0, np.int64), *values])
        counts = np.array([*map(len, values)], int)
    start, length = np.ascontiguousarray(numbers.reshape(-1, 2).T)
    return Runs(np.repeat(np.arange(len(counts)), counts // 2), start, length)


def _read_row(row: str | np.ndarray, number: int) -> np.ndarray:
    """Return one row as int64 (2k,)."""
    try:
        values = np.array([int(word) for word in row.split()] if isinstance(row, str) else row, np.int64)
    except (ValueError, OverflowError) as e:
        raise UserError(
            f"row {number}: expected whole numbers 'start length …', got {str(row)[:60]!r}"
        ) from e
    if values.size == 0 or values.size % 2:
        raise UserError(f"row {number}: expected pairs 'start length …', got {values.size} numbers")
    return values.ravel()


def _check_bounds(runs: Runs, shape: tuple[int, int]) -> None:
    area = shape[0] * shape[1]
    bad = np.flatnonzero((runs.start < 1) | (runs.length < 1) | runs.beyond(area))
    if bad.size:
        i = bad[0]
        raise UserError(
            f"row {runs.row[i] + 1}: run {runs.text(i)} leaves the image of {shape[0]}x{shape[1]}, "
            f"whose pixels are 1 to {area}"
        )


def _raise_overlap(runs: Runs) -> None:
    """Raise for the first pixel that two runs share."""
    _, start, length = runs
    pixels = np.repeat(start - (np.cumsum(length) - length), length) + np.arange(length.sum())
    order = np.argsort(pixels, kind="stable")
    shared = np.flatnonzero(np.diff(pixels[order]) == 0)[0]
    first, second = np.repeat(runs.row + 1, length)[order[shared : shared + 2]]
    raise UserError(f"rows {first} and {second} overlap at pixel {pixels[order[shared]]}")
