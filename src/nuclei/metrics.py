"""The competition's metric: mean precision over ten IoU thresholds.

For each threshold t of 0.50, 0.55 … 0.95 a predicted nucleus is a true positive when its IoU with a true
nucleus is strictly greater than t. The precision is TP / (TP + FP + FN); the mean is taken over the
thresholds, then over the images. The score of an image with neither true nor predicted nuclei is 1.

The thresholds are whole twentieths and every comparison is made in integers, so ties are exact.
See https://www.kaggle.com/c/data-science-bowl-2018/overview/evaluation
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuclei.labelmap.overlap import count_matches, pair_runs
from nuclei.labelmap.regions import compact_labels

THRESHOLDS = tuple(range(10, 20))
"""Thresholds in twentieths: 10 is 0.50, 19 is 0.95."""


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count the true positives, false positives and false negatives of an image at each threshold.

    Args:
        truth: integers (H, W), 0 for background; gaps in the numbering are allowed.
        prediction: the same.

    Returns:
        int64 (10, 3): TP, FP and FN at each of ``THRESHOLDS``.

    Raises:
        ValueError: the shapes differ, or the labels are no integers of 0 or more.
    """
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected integer labels of 0 or more, got {labels.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    if not truth.size:
        return np.zeros((len(THRESHOLDS), 3), np.int64)
    lengths, true_labels, predicted_labels = pair_runs(truth.ravel(), prediction.ravel())
    # Nuclei of one map are disjoint. If IoU(T, P) > 1/2 then |T∩P| > |T∪P|/2 >= |T|/2, so two such P would
    # share more than |T| pixels with T: at most one fits, and likewise one T for each P. So every pair above
    # the threshold is a match, and no assignment has to be solved.
    return count_matches(
        lengths,
        compact_labels(true_labels, "truth"),
        compact_labels(predicted_labels, "prediction"),
        np.array(THRESHOLDS, np.int64),
    )


def precision_at(counts: np.ndarray) -> np.ndarray:
    """Return TP / (TP + FP + FN) at each threshold, float64 (..., 10), from counts (..., 10, 3).

    The precision is 1 where all three counts are 0.
    """
    total = counts.sum(axis=-1)
    return np.where(total == 0, 1.0, counts[..., 0] / np.maximum(total, 1))


def average_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the score of one image, in 0..1; see ``confusion`` for the arguments.

    >>> average_precision(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 0]]))
    0.5
    """
    return float(precision_at(confusion(truth, prediction)).mean())


def table(counts: Sequence[np.ndarray], groups: Sequence[str], name: str = "group") -> list[str]:
    """Return a table as lines: images, precision at 0.5, 0.75 and 0.9, and the mean, by group and for all.

    Args:
        counts: the result of ``confusion`` for each image.
        groups: the group of each image.
        name: the heading of the column of groups.
    """
    precision, names = precision_at(np.stack(counts)), np.array(groups)
    width = max(len(word) for word in ("all", name, *groups))
    parts = [(g, names == g) for g in sorted(set(groups))] + [("all", np.ones(len(names), bool))]
    lines = [f"{name:<{width}} images   0.50   0.75   0.90   mean"]
    for group, chosen in parts:
        at = precision[chosen].mean(axis=0)
        lines.append(
            f"{group:<{width}} {chosen.sum():6d} {at[0]:6.3f} {at[5]:6.3f} {at[8]:6.3f} {at.mean():6.3f}"
        )
    return lines


def equivalent_diameter(area: np.ndarray | float) -> np.ndarray:
    """Return the diameter of a disc of an area; of a mean area, what is called the mean diameter here.

    >>> round(float(equivalent_diameter(78.5)), 2)
    10.0
    """
    return 2 * np.sqrt(np.asarray(area) / np.pi)
