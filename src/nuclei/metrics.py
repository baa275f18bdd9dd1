"""The competition's metric: mean precision over ten IoU thresholds.

For each threshold t of 0.50, 0.55 … 0.95 a predicted nucleus is a true positive when its IoU with a true
nucleus is greater than t, strictly. The precision is TP / (TP + FP + FN); the mean is taken over the
thresholds, then over the images. An image with neither truth nor prediction counts 1.

The thresholds are whole twentieths and every decision is made in integers, so ties are exact.
See https://www.kaggle.com/c/data-science-bowl-2018/overview/evaluation
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuclei.labelmap.label_pairs import pair_runs
from nuclei.labelmap.numbering import compact
from nuclei.labelmap.overlap import matches

THRESHOLDS = tuple(range(10, 20))
"""Thresholds in twentieths: 10 is 0.50, 19 is 0.95."""


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count matches of two label maps at each threshold.

    Args:
        truth: integers (H, W), 0 is background; gaps in the numbering are fine.
        prediction: the same.

    Returns:
        int64 (10, 3): for each of ``THRESHOLDS`` the TP, FP and FN.

    Raises:
        ValueError: the shapes differ, or something is no integer map.
    """
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected integer labels of 0 or more, got {labels.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    if not truth.size:
        return np.zeros((len(THRESHOLDS), 3), np.int64)
    lengths, true_number, predicted_number = pair_runs(truth.ravel(), prediction.ravel())
    # Nuclei of one map are disjoint. If IoU(T, P) > 1/2 then |T∩P| > |T∪P|/2 >= |T|/2, so two such P would
    # share more than |T| pixels with T: at most one fits, and likewise one T for each P. So a pair above the
    # threshold is a match, and there is nothing to assign.
    return matches(
        lengths,
        _numbers("truth", true_number),
        _numbers("prediction", predicted_number),
        np.array(THRESHOLDS, np.int64),
    )


def precision_at(counts: np.ndarray) -> np.ndarray:
    """Return TP / (TP + FP + FN) at each threshold, (..., 10) from counts (..., 10, 3); 1 where all are 0."""
    total = counts.sum(axis=-1)
    return np.where(total == 0, 1.0, counts[..., 0] / np.maximum(total, 1))


def average_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the score of one image, in [0, 1]; for the arguments see ``confusion``.

    >>> average_precision(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 0]]))
    0.5
    """
    return float(precision_at(confusion(truth, prediction)).mean())


def table(counts: Sequence[np.ndarray], groups: Sequence[str], name: str = "group") -> list[str]:
    """Return lines to print: images, precision at 0.5, 0.75 and 0.9, and the mean, by group and for all.

    Args:
        counts: what ``confusion`` gave for each image.
        groups: the name of each image's group.
        name: what the groups are, to stand above them.
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


def _numbers(name: str, labels: np.ndarray) -> np.ndarray:
    try:
        return compact(labels)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from None
