"""The competition's metric, mean precision over ten IoU thresholds; panoptic quality and the Jaccard index.

For each threshold t of 0.50, 0.55 … 0.95 a predicted nucleus is a true positive when its IoU with a true
nucleus is strictly greater than t. The precision is TP / (TP + FP + FN); the mean is taken over the
thresholds, then over the images. The score of an image with neither true nor predicted nuclei is 1.

The thresholds are whole twentieths and every comparison is made in integers, so ties are exact.
See https://www.kaggle.com/c/data-science-bowl-2018/overview/evaluation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

import numpy as np

from nuclei.labelmap.objects import count_matches, pair_runs, shared_pairs
from nuclei.labelmap.regions import compact_labels

Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Lengths of the runs in which neither label map changes, and the labels of both in each run."""
THRESHOLDS = tuple(range(10, 20))
"""Thresholds in twentieths: 10 is 0.50, 19 is 0.95."""


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count the true positives, false positives and false negatives of an image at each threshold.

    Both maps are integers (H, W), 0 for background; gaps in the numbering are allowed.

    Returns:
        int64 (10, 3): TP, FP and FN at each of ``THRESHOLDS``.

    Raises:
        ValueError: the shapes differ, or the labels are no integers of 0 or more.
    """
    return _confusion(_runs(truth, prediction))


def _confusion(runs: Runs | None) -> np.ndarray:
    """Return the counts of ``confusion``."""
    if runs is None:
        return np.zeros((len(THRESHOLDS), 3), np.int64)
    # Nuclei of one map are disjoint. If IoU(T, P) > 1/2 then |T∩P| > |T∪P|/2 >= |T|/2, so two such P would
    # share more than |T| pixels with T: at most one fits, and likewise one T for each P. So every pair above
    # the threshold is a match, and no assignment has to be solved.
    return count_matches(*runs, np.array(THRESHOLDS, np.int64))


def _runs(truth: np.ndarray, prediction: np.ndarray) -> Runs | None:
    """Return what the functions of ``labelmap.objects`` take; None for images without pixels."""
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected integer labels of 0 or more, got {labels.dtype}")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} but prediction is {prediction.shape}")
    if not truth.size:
        return None
    lengths, true_labels, predicted_labels = pair_runs(truth.ravel(), prediction.ravel())
    return lengths, compact_labels(true_labels, "truth"), compact_labels(predicted_labels, "prediction")


@dataclass(frozen=True)
class Agreement:
    """How well predicted nuclei agree with the true ones, in sums, so that those of several images add up.

    Attributes:
        counts: int64 (10, 3), what ``confusion`` returns.
        matched_iou: sum of the IoUs of all matches, pairs with an IoU above 0.5.
        intersection: pixels shared by each true nucleus and the predicted one with the highest IoU.
        union: pixels of the unions of these pairs, and of all nuclei that are in no pair.
    """

    counts: np.ndarray
    matched_iou: float
    intersection: int
    union: int

    def __add__(self, other: Agreement) -> Agreement:
        """Return the agreement over the nuclei of both."""
        return Agreement(*map(add, vars(self).values(), vars(other).values()))

    @property
    def n_true(self) -> int:
        """Number of true nuclei."""
        return int(self.counts[0, 0] + self.counts[0, 2])

    @property
    def n_predicted(self) -> int:
        """Number of predicted nuclei."""
        return int(self.counts[0, 0] + self.counts[0, 1])

    def f1(self, threshold: int) -> float:
        """Return 2 TP / (2 TP + FP + FN) at one of ``THRESHOLDS``; 1 where there is no nucleus at all."""
        tp, fp, fn = self.counts[THRESHOLDS.index(threshold)]
        return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else 1.0

    @property
    def detection_quality(self) -> float:
        """The factor DQ (or RQ) of the panoptic quality: F1 at 0.5."""
        return self.f1(THRESHOLDS[0])

    @property
    def segmentation_quality(self) -> float:
        """The factor SQ of the panoptic quality: mean IoU of the matches; 0 without any, as in StarDist.

        It is 1 where there is no nucleus at all.
        """
        tp, fp, fn = self.counts[0]
        return self.matched_iou / float(tp) if tp else float(fp + fn == 0)

    @property
    def panoptic_quality(self) -> float:
        """PQ = SQ times DQ (Kirillov et al. 2019)."""
        return self.segmentation_quality * self.detection_quality

    @property
    def aggregated_jaccard(self) -> float:
        """AJI, the aggregated Jaccard index of Kumar et al. (2017).

        Each true nucleus is paired with the predicted one of the highest IoU, whatever it is; the pixels of
        all intersections are divided by those of all unions, of true nuclei that nothing overlaps, and of
        predicted nuclei in no pair. As in the paper's algorithm, several true nuclei may share a predicted
        one, whose pixels then count several times. Of equal IoUs the lowest label is taken. The index is 1
        where there is no nucleus at all.
        """
        return self.intersection / self.union if self.union else 1.0


def agreement(truth: np.ndarray, prediction: np.ndarray) -> Agreement:
    """Compare two label maps of one image; see ``confusion`` for the arguments.

    >>> found = agreement(np.array([[1, 1, 1, 0, 2]]), np.array([[1, 1, 0, 0, 0]]))
    >>> round(found.panoptic_quality, 3), found.aggregated_jaccard
    (0.444, 0.5)
    """
    runs = _runs(truth, prediction)
    counts = _confusion(runs)
    if runs is None:
        return Agreement(counts, 0.0, 0, 0)
    true_areas, predicted_areas, pairs = shared_pairs(*runs)
    true, predicted, shared = pairs.T
    unions = true_areas[true] + predicted_areas[predicted] - shared
    iou = shared / unions
    # The best of each true nucleus comes first: the highest IoU, then the lowest label.
    order = np.lexsort((predicted, -iou, true))
    best = order[np.unique(true[order], return_index=True)[1]]
    lonely = np.delete(true_areas, [0, *true[best]]).sum()
    unused = np.delete(predicted_areas, [0, *predicted[best]]).sum()
    union = int(unions[best].sum() + lonely + unused)
    return Agreement(counts, float(iou[2 * shared > unions].sum()), int(shared[best].sum()), union)


def precision_at(counts: np.ndarray) -> np.ndarray:
    """Return TP / (TP + FP + FN) at each threshold, float64 (..., 10), from counts (..., 10, 3).

    The precision is 1 where all three counts are 0.
    """
    total = counts.sum(axis=-1)
    return np.where(total == 0, 1.0, counts[..., 0] / np.maximum(total, 1))


def precisions(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the precision of an image at each threshold, float64 (10,); see ``confusion``."""
    return precision_at(confusion(truth, prediction))


def average_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the score of one image, in 0..1; see ``confusion`` for the arguments.

    >>> average_precision(np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 0]]))
    0.5
    """
    return float(precisions(truth, prediction).mean())


def table(counts: Sequence[np.ndarray], groups: Sequence[str], name: str = "group") -> list[str]:
    """Return a table as lines: images, precision at 0.5, 0.75 and 0.9, and the mean, by group and for all.

    Each image has the ``counts`` of ``confusion`` and a group; ``name`` heads the column of groups.
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


def pixel_confusion(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count pixels by their true class (row) and their predicted class (column), int64 (n, n).

    >>> pixel_confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    pairs = truth.astype(np.int64).ravel() * n_classes + predicted.ravel()
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def pixel_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and IoU (Jaccard index) of each class, (n,) each; NaN for absent classes.

    ``confusion`` is int64 (n, n), of ``pixel_confusion``.
    """
    hits, true, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    absent = (true == 0) & (predicted == 0)
    ratios = {
        "precision": (hits, predicted),
        "recall": (hits, true),
        "F1": (2 * hits, true + predicted),
        "IoU": (hits, true + predicted - hits),
    }
    return {name: np.where(absent, np.nan, a / np.maximum(b, 1)) for name, (a, b) in ratios.items()}


def accuracy(confusion: np.ndarray) -> float:
    """Return the share of pixels whose class is right."""
    return float(np.trace(confusion) / max(1, confusion.sum()))
