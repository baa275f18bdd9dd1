"""What is wrong with a segmentation, nucleus by nucleus, and what mending each kind of error would bring.

Everything is judged at the metric's lowest threshold: a true nucleus T and a predicted one P match when
their IoU is greater than 0.5. Each nucleus that matches none is blamed on the first kind that applies:

- merge: a P that holds more than half of each of two or more T.
- split: a T in which two or more P, no merges, lie with more than half of their own pixels.
- wrong outline: a T and a P, both left over, of which one has more than half of its pixels in the other.
- miss: a T that is left over.
- false find: a P that is left over.

What matches can still be better: an inexact outline is a match, of neither a merge nor a split, that some
higher threshold of the metric refuses.

Mending changes the prediction by one kind of error alone, and by no more than the kind means: a merge is cut,
each pixel going to the nearest of the nuclei it holds; the pieces of a split become one nucleus; in place of
an outline, wrong or inexact, stands the true one; a missed nucleus is drawn where there is background; a
false find goes.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table

KINDS = ("merge", "split", "wrong outline", "miss", "false find", "inexact outline")


@dataclass(frozen=True)
class Errors:
    """The errors of one image; T and P are labels of the truth and of the prediction.

    Attributes:
        merges: for each merging P the T that it holds.
        splits: for each split T its P.
        wrong: (T, P) of wrong outlines.
        misses: T.
        false_finds: P.
        inexact: (T, P) of inexact outlines.
        best_iou: float64 (N,), for T = 1..N the greatest IoU with any P.
    """

    merges: dict[int, list[int]]
    splits: dict[int, list[int]]
    wrong: list[tuple[int, int]]
    misses: list[int]
    false_finds: list[int]
    inexact: list[tuple[int, int]]
    best_iou: np.ndarray

    def counts(self) -> dict[str, int]:
        """Return the number of errors of each kind."""
        found: tuple[Sized, ...] = (
            self.merges,
            self.splits,
            self.wrong,
            self.misses,
            self.false_finds,
            self.inexact,
        )
        return {kind: len(of_kind) for kind, of_kind in zip(KINDS, found, strict=True)}


def find_errors(truth: np.ndarray, prediction: np.ndarray) -> Errors:
    """Find the errors of a label map, as this module defines them.

    Args:
        truth: integers (H, W), 0 background, 1..N without gaps.
        prediction: the same.

    >>> find_errors(np.array([[1, 1, 2, 2, 0, 3]]), np.array([[1, 1, 1, 1, 0, 0]])).counts()
    {'merge': 1, 'split': 0, 'wrong outline': 0, 'miss': 1, 'false find': 0, 'inexact outline': 0}
    """
    shared, area, own = _overlaps(truth, prediction)
    union = area + own - shared
    match, held, within = (np.greater(2 * shared, of) for of in (union, area, own))
    merging: np.ndarray = held.sum(0) >= 2
    within_split = within & ~merging
    split: np.ndarray = within_split.sum(1) >= 2
    merged, piece = held[:, merging].any(1), within_split[split].any(0)
    free_true = ~(match.any(1) | merged | split)
    free_predicted = ~(match.any(0) | merging | piece)
    near = (held | within) & free_true[:, None] & free_predicted
    iou = shared / np.maximum(union, 1)
    wrong = [
        (t, p) for t, p in zip(*linear_sum_assignment(iou * near, maximize=True), strict=True) if near[t, p]
    ]
    plain = match & ~split[:, None] & ~merged[:, None] & ~merging & ~piece
    return Errors(
        merges={int(p) + 1: _labels(held[:, p]) for p in np.flatnonzero(merging)},
        splits={int(t) + 1: _labels(within_split[t]) for t in np.flatnonzero(split)},
        wrong=[(int(t) + 1, int(p) + 1) for t, p in wrong],
        misses=sorted(set(_labels(free_true)) - {int(t) + 1 for t, _ in wrong}),
        false_finds=sorted(set(_labels(free_predicted)) - {int(p) + 1 for _, p in wrong}),
        inexact=[(int(t) + 1, int(p) + 1) for t, p in np.argwhere(plain & (20 * shared <= 19 * union))],
        best_iou=iou.max(axis=1, initial=0),
    )


def mend(kind: str, errors: Errors, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the prediction without its errors of one kind.

    Args:
        kind: one of ``KINDS``.
        errors: what ``find_errors`` found in the two label maps.
        truth: integers (H, W).
        prediction: the same; stays as it is.

    Returns:
        int32 (H, W); the numbering may have gaps.
    """
    if kind == "merge":
        return _cut(errors.merges, truth, prediction)
    if kind == "split":
        join = {p: pieces[0] for pieces in errors.splits.values() for p in pieces}
        return _renumbered(prediction, join)
    if kind == "false find":
        return _renumbered(prediction, dict.fromkeys(errors.false_finds, 0))
    if kind == "miss":
        return _drawn(errors.misses, truth, prediction)
    pairs = errors.wrong if kind == "wrong outline" else errors.inexact
    return _drawn(
        [t for t, _ in pairs], truth, _renumbered(prediction, dict.fromkeys((p for _, p in pairs), 0))
    )


def _overlaps(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels that T and P share, int64 (N, M), and the areas, (N, 1) and (M,)."""
    table = contingency_table(truth, prediction).toarray().astype(np.int64)
    return table[1:, 1:], table[1:].sum(1, keepdims=True), table[:, 1:].sum(0)


def _labels(chosen: np.ndarray) -> list[int]:
    return (np.flatnonzero(chosen) + 1).tolist()


def _renumbered(labels: np.ndarray, new: dict[int, int]) -> np.ndarray:
    numbers = np.arange(int(labels.max(initial=0)) + 1, dtype=np.int32)
    numbers[list(new)] = list(new.values())
    return numbers[labels]


def _drawn(names: list[int], truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Draw true nuclei on the background of the prediction."""
    chosen = np.zeros(int(truth.max(initial=0)) + 1, np.int32)
    chosen[names] = np.arange(len(names)) + int(prediction.max(initial=0)) + 1
    return np.where(prediction == 0, chosen[truth], prediction).astype(np.int32)


def _cut(merges: dict[int, list[int]], truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Give each pixel of a merge to the nearest of the nuclei that it holds."""
    mended, boxes, last = (
        prediction.astype(np.int32),
        find_objects(prediction),
        int(prediction.max(initial=0)),
    )
    for p, held in merges.items():
        box = boxes[p - 1]
        seeds = np.where(np.isin(truth[box], held), truth[box], 0)
        nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        inside = prediction[box] == p
        mended[box][inside] = last + seeds[tuple(nearest)][inside]
    return mended
