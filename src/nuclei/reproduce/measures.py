"""What the reports measure beside the competition's metric: pixels, and cells that membranes part."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.metrics import contingency_table
from skimage.segmentation import watershed


def confusion_of_pixels(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count pixels by their true (row) and their predicted class (column), ``int64 (n, n)``.

    >>> confusion_of_pixels(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    pairs = truth.astype(np.int64).ravel() * n_classes + predicted.ravel()
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def pixel_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and Jaccard index (IoU) of each class, ``(n,)`` each; NaN for classes not there.

    Args:
        confusion: as ``confusion_of_pixels`` counts it.
    """
    hits, true, found = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    absent = (true == 0) & (found == 0)

    def share(of: np.ndarray, all_: np.ndarray) -> np.ndarray:
        return np.where(absent, np.nan, of / np.maximum(all_, 1))

    return {
        "precision": share(hits, found),
        "recall": share(hits, true),
        "F1": share(2 * hits, true + found),
        "IoU": share(hits, true + found - hits),
    }


def accuracy(confusion: np.ndarray) -> float:
    """Share of pixels whose class is right."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def v_scores(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Foreground-restricted V_rand and V_info of Arganda-Carreras et al. (2015), their F-scores.

    Pixels that are 0 in the truth do not count. With p the share of pixels in true cell t and predicted cell
    s: ``V_rand = 2 sum(p_st**2) / (sum(p_s**2) + sum(p_t**2))`` and
    ``V_info = 2 I(S; T) / (H(S) + H(T))``.

    Args:
        truth: integers (H, W), 0 on membranes.
        predicted: integers (H, W), without 0.

    Returns:
        Both in [0, 1]; 1 for the same partition.
    """
    table = contingency_table(truth, predicted, ignore_labels=(0,), normalize=True)
    p, t, s = (np.asarray(a).ravel() for a in (table.data, table.sum(axis=1), table.sum(axis=0)))
    rand = 2 * float((p**2).sum()) / float((t**2).sum() + (s**2).sum())
    h_t, h_s, h_both = _entropy(t), _entropy(s), _entropy(p)
    return rand, 2 * (h_t + h_s - h_both) / (h_t + h_s) if h_t + h_s > 0 else 1.0


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def cells(inside: np.ndarray, threshold: float) -> np.ndarray:
    """Part an image into cells: pieces of the inside, grown until their membranes are lines.

    The challenge thins membranes likewise before it scores.

    Args:
        inside: ``uint8 (H, W)``, probability of being no membrane times 255.
        threshold: in [0, 1].

    Returns:
        ``int32 (H, W)`` without 0.
    """
    pieces = cv2.connectedComponents((inside >= threshold * 255).astype(np.uint8), connectivity=4)[1]
    return watershed(255 - inside, pieces) if pieces.any() else np.ones(inside.shape, np.int32)  # type: ignore[no-any-return]


def best_v_scores(inside_and_truth: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """V_rand and V_info, the means over images at the threshold that is best for each, as in the challenge.

    Args:
        inside_and_truth: for each image the map that ``cells`` takes, and the labels.
    """
    thresholds = np.arange(1, 10) / 10
    table = [[v_scores(truth, cells(inside, t)) for inside, truth in inside_and_truth] for t in thresholds]
    rand, info = np.array(table).mean(axis=1).max(axis=0)
    return float(rand), float(info)
