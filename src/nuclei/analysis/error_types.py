"""Find the errors of a segmentation by their type, and mend one type at a time to see what it costs.

Errors are found at the metric's lowest threshold: a true nucleus T and a predicted one P match when their
IoU is greater than 0.5. A nucleus without a match has the first type of error that applies:

- merge: a P that holds more than half of each of two or more T.
- split: a T that holds more than half of each of two or more P, none of which is a merge.
- wrong outline: a T and a P, neither of them explained yet, one of them more than half
  inside the other.
- miss: any other T without a match.
- false find: any other P without a match.

A match can be imperfect too: an inexact outline is a match, of neither a merge nor a split, that a higher
threshold of the metric refuses.

Mending an error changes the prediction as little as its type allows. A merge is cut, each pixel going to the
nearest of the nuclei that the merge holds; the pieces of a split become one nucleus; a wrong or inexact
outline is replaced by the true one; a missed nucleus is drawn on the background; a false find is removed.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table

from nuclei.labelmap.objects import pair_runs, shared_pairs
from nuclei.labelmap.regions import compact_labels

ERROR_TYPES = ("merge", "split", "wrong outline", "miss", "false find", "inexact outline")


@dataclass(frozen=True)
class Errors:
    """The errors of one image; T are labels of the truth, P labels of the prediction.

    Attributes:
        merges: the T inside each merging P.
        splits: the P of each split T.
        wrong, inexact: pairs (T, P) with a wrong, or an inexact outline.
        misses, false_finds: missed T, and P where no nucleus is.
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
        """Return the number of errors of each type, in the order of ``ERROR_TYPES``."""
        errors: tuple[Sized, ...] = (self.merges, self.splits, self.wrong)
        errors += (self.misses, self.false_finds, self.inexact)
        return dict(zip(ERROR_TYPES, map(len, errors), strict=True))


def find_errors(truth: np.ndarray, prediction: np.ndarray) -> Errors:
    """Find the errors of a predicted label map; both maps are integers (H, W), numbered without gaps.

    >>> find_errors(np.array([[1, 1, 2, 2, 0, 3]]), np.array([[1, 1, 1, 1, 0, 0]])).counts()
    {'merge': 1, 'split': 0, 'wrong outline': 0, 'miss': 1, 'false find': 0, 'inexact outline': 0}
    """
    table = contingency_table(truth, prediction).toarray().astype(np.int64)
    shared, true_area, predicted_area = table[1:, 1:], table[1:].sum(1, keepdims=True), table[:, 1:].sum(0)
    union = true_area + predicted_area - shared
    match, t_in_p, p_in_t = (np.greater(2 * shared, area) for area in (union, true_area, predicted_area))
    merge: np.ndarray = t_in_p.sum(0) >= 2
    piece_of = p_in_t & ~merge
    split: np.ndarray = piece_of.sum(1) >= 2
    merged, piece = t_in_p[:, merge].any(1), piece_of[split].any(0)
    t_left = ~(match.any(1) | merged | split)
    p_left = ~(match.any(0) | merge | piece)
    candidates = (t_in_p | p_in_t) & t_left[:, None] & p_left
    iou = shared / np.maximum(union, 1)
    pairs = zip(*linear_sum_assignment(iou * candidates, maximize=True), strict=True)
    wrong = [(int(t) + 1, int(p) + 1) for t, p in pairs if candidates[t, p]]
    single_match = match & ~split[:, None] & ~merged[:, None] & ~merge & ~piece
    below_highest_threshold = 20 * shared <= 19 * union
    return Errors(
        merges={int(p) + 1: _labels(t_in_p[:, p]) for p in np.flatnonzero(merge)},
        splits={int(t) + 1: _labels(piece_of[t]) for t in np.flatnonzero(split)},
        wrong=wrong,
        misses=sorted(set(_labels(t_left)) - {t for t, _ in wrong}),
        false_finds=sorted(set(_labels(p_left)) - {p for _, p in wrong}),
        inexact=[(int(t) + 1, int(p) + 1) for t, p in np.argwhere(single_match & below_highest_threshold)],
        best_iou=iou.max(axis=1, initial=0),
    )


def count_merges_and_splits(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, int]:
    """Return how many merges and splits ``find_errors`` finds, for label maps of any numbering and size.

    Only pairs of nuclei that share pixels are looked at, so that images with many thousands of nuclei fit in
    the memory.

    >>> count_merges_and_splits(np.array([[1, 1, 2, 2, 9, 9]]), np.array([[5, 5, 5, 5, 6, 7]]))
    (1, 1)
    """
    lengths, t_labels, p_labels = pair_runs(truth.ravel(), prediction.ravel())
    runs = lengths, compact_labels(t_labels), compact_labels(p_labels)
    true_areas, predicted_areas, pairs = shared_pairs(*runs)
    t, p, shared = pairs.T
    t_in_p, p_in_t = 2 * shared > true_areas[t], 2 * shared > predicted_areas[p]
    merge = np.bincount(p[t_in_p], minlength=len(predicted_areas)) >= 2
    split = np.bincount(t[p_in_t & ~merge[p]], minlength=len(true_areas)) >= 2
    return int(merge.sum()), int(split.sum())


def mend(error_type: str, errors: Errors, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the prediction without its errors of one type: int32 (H, W), whose labels may have gaps.

    The errors are those that ``find_errors`` gives for these two label maps, integers (H, W).
    """
    if error_type == "merge":
        return _cut(errors.merges, truth, prediction)
    if error_type == "split":
        joined = {p: pieces[0] for pieces in errors.splits.values() for p in pieces}
        return _relabelled(prediction, joined)
    if error_type == "false find":
        return _relabelled(prediction, dict.fromkeys(errors.false_finds, 0))
    if error_type == "miss":
        return _drawn(errors.misses, truth, prediction)
    pairs = errors.wrong if error_type == "wrong outline" else errors.inexact
    cleared = _relabelled(prediction, dict.fromkeys((p for _, p in pairs), 0))
    return _drawn([t for t, _ in pairs], truth, cleared)


def _labels(chosen: np.ndarray) -> list[int]:
    return (np.flatnonzero(chosen) + 1).tolist()


def _relabelled(labels: np.ndarray, new: dict[int, int]) -> np.ndarray:
    table = np.arange(int(labels.max(initial=0)) + 1, dtype=np.int32)
    table[list(new)] = list(new.values())
    return table[labels]


def _drawn(chosen: list[int], truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Draw the chosen true nuclei on the background of the prediction."""
    table = np.zeros(int(truth.max(initial=0)) + 1, np.int32)
    table[chosen] = np.arange(len(chosen)) + int(prediction.max(initial=0)) + 1
    return np.where(prediction == 0, table[truth], prediction).astype(np.int32)


def _cut(merges: dict[int, list[int]], truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Give each pixel of a merge to the nearest of the true nuclei inside the merge."""
    mended, last = prediction.astype(np.int32), int(prediction.max(initial=0))
    boxes = find_objects(prediction)
    for p, inside in merges.items():
        box = boxes[p - 1]
        seeds = np.where(np.isin(truth[box], inside), truth[box], 0)
        nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        pixels = prediction[box] == p
        mended[box][pixels] = last + seeds[tuple(nearest)][pixels]
    return mended
