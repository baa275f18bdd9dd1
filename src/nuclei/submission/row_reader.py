"""Checks of all runs of a submission at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNBOUNDED = 2**40
"""More pixels than any image has; a row's or image's number times this still fits into 64 bits."""


class Runs(NamedTuple):
    """Every run of a file: int64 arrays of equal length, in the order of the file."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def read(cls, texts: list[str]) -> Runs:
        """Read rows of whole numbers, an even count in each, parted by single spaces."""
        pairs = np.fromstring(" ".join(filter(None, texts)), np.int64, sep=" ").reshape(-1, 2)
        counts = [(text.count(" ") + 1) // 2 if text else 0 for text in texts]
        return cls(np.repeat(np.arange(len(texts)), counts), pairs[:, 0], pairs[:, 1])

    def text(self, i: int | np.integer) -> str:
        """Return run ``i`` as it stands in the file."""
        return f"'{self.start[i]} {self.length[i]}'"

    def last(self) -> np.ndarray:
        """Return the last pixel of each run."""
        return self.start + self.length - 1


def not_positive(runs: Runs) -> list[tuple[int, str]]:
    """Name the rows with numbers below 1."""
    bad = np.flatnonzero((runs.start < 1) | (runs.length < 1))
    return [(int(runs.row[i]), f"run {runs.text(i)}: a zero or negative number") for i in bad]


def out_of_bounds(runs: Runs, areas: np.ndarray) -> list[tuple[int, str]]:
    """Name the rows with runs beyond the last pixel; ``areas`` has the pixels of each row's image."""
    if not len(areas):
        return []
    # Each number by itself first: the sum of two huge ones would wrap.
    area = areas[runs.row]
    bad = np.flatnonzero((runs.start > area) | (runs.length > area - np.minimum(runs.start, area) + 1))
    return [
        (int(runs.row[i]), f"run {runs.text(i)} is out of bounds; the last pixel is {area[i]}") for i in bad
    ]


def not_ascending(runs: Runs) -> list[tuple[int, str]]:
    """Name the rows in which a run does not begin at least one pixel after the end of the one before."""
    bad = np.flatnonzero((np.diff(runs.row) == 0) & (np.diff(runs.start) <= runs.length[:-1]))
    reasons = []
    for i in bad:
        step = runs.start[i + 1] - runs.start[i]
        how = "not ascending" if step <= 0 else "touching" if step == runs.length[i] else "overlapping"
        reasons.append((int(runs.row[i]), f"runs {runs.text(i)} and {runs.text(i + 1)} are {how}"))
    return reasons


def overlaps(runs: Runs, images: np.ndarray) -> list[tuple[int, int, int]]:
    """Find rows of one image that share pixels; ``images`` has the number of each row's image.

    Every run that begins inside an earlier one is found, so when all of these are mended nothing overlaps.

    Returns:
        (later row, earlier row, pixel) for each pair of rows once.
    """
    sound = (runs.start >= 1) & (runs.length >= 1) & (runs.start < UNBOUNDED) & (runs.length < UNBOUNDED)
    # Within a row first, or a row that overlaps itself would hide what it shares with others.
    row, start, last = _merged(Runs(*(column[sound] for column in runs)))
    if not len(row):
        return []
    image = images[row]
    order = np.lexsort((start, image))
    row, start, image = row[order], start[order], image[order]
    end = image * 2 * UNBOUNDED + last[order]
    reach = np.maximum.accumulate(end)
    owner = np.maximum.accumulate(np.where(end == reach, np.arange(len(end)), 0))
    bad = np.flatnonzero(image[1:] * 2 * UNBOUNDED + start[1:] <= reach[:-1])
    pairs: dict[tuple[int, int], int] = {}
    for i in bad:
        one, other = sorted((int(row[i + 1]), int(row[owner[i]])))
        pairs.setdefault((other, one), int(start[i + 1]))
    return [(later, earlier, pixel) for (later, earlier), pixel in pairs.items()]


def _merged(runs: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the runs of each row that overlap; return row, first and last pixel, ascending in each row."""
    order = np.lexsort((runs.start, runs.row))
    row, start = runs.row[order], runs.start[order]
    base = row * 2 * UNBOUNDED
    reach = np.maximum.accumulate(base + runs.last()[order])
    first = np.flatnonzero(np.concatenate([[True], (base + start)[1:] > reach[:-1]])[: len(row)])
    last = np.append(first[1:], len(row))[: len(first)] - 1
    return row[first], start[first], (reach - base)[last]
