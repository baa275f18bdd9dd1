"""Scores that the papers report beside the competition's metric: of pixels, and of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from skimage.metrics import contingency_table
from skimage.segmentation import watershed

from nuclei.inference.measure import CLASS_PREFIX
from nuclei.metrics import accuracy, pixel_confusion, pixel_scores, precisions

RESAMPLES = 1000
"""Number of samples of a bootstrap."""


@dataclass
class HeldOutScores:
    """The scores of one system, collected image by image.

    Attributes:
        membranes: whether to compute V_rand and V_info, which take a while.
        precision: float64 (10,) of each image, at the metric's thresholds.
        pixels: int64 (n, n) confusion of the pixel classes of each image.
        iou: IoU of nucleus pixels of each image.
        inside: nucleus map and true labels of each image, kept for V_rand and V_info.
    """

    channels: Sequence[str]
    membranes: bool = False
    precision: dict[str, np.ndarray] = field(default_factory=dict)
    pixels: list[np.ndarray] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    inside: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the pixel classes, background first."""
        names = [c.removeprefix(CLASS_PREFIX) for c in self.channels if c.startswith(CLASS_PREFIX)]
        return ["background", *(names or ["nucleus"])]

    def add(
        self, image_id: str, maps: np.ndarray, labels: np.ndarray, truth: np.ndarray, classes: np.ndarray
    ) -> None:
        """Score the maps of one image, uint8 (C, H, W), and the labels that post-processing made of them.

        Labels and truth are int32 (H, W); ``classes`` (N + 1,) has the class of each true nucleus, 1..N.
        """
        self.precision[image_id] = precisions(truth, labels)
        nuclei = pixel_confusion(truth > 0, labels > 0, 2)
        self.iou.append(float(np.nan_to_num(pixel_scores(nuclei)["IoU"][1], nan=1.0)))
        n = len(self.classes)
        by_class = pixel_confusion(classes[truth], class_map(maps, self.channels), n) if n > 2 else nuclei
        self.pixels.append(by_class)
        if self.membranes:
            self.inside.append((maps[list(self.channels).index("nucleus")], truth))

    @cached_property
    def v_by_threshold(self) -> np.ndarray:
        """V_rand and V_info of each image, float64 (9, n_images, 2), at the thresholds 0.1 to 0.9."""
        thresholds = np.arange(1, 10) / 10
        return np.array([[v_scores(truth, cells(i, t)) for i, truth in self.inside] for t in thresholds])

    @property
    def confusion(self) -> np.ndarray:
        """Confusion of the pixel classes of all images, int64 (n, n)."""
        return np.stack(self.pixels).sum(axis=0)

    def scores(self, chosen: np.ndarray | None = None) -> dict[str, float]:
        """Return all scores by name; those of classes are means over the classes other than background.

        ``chosen`` are the numbers of the images to score, with repetitions; None is all of them.
        """
        chosen = np.arange(len(self.pixels)) if chosen is None else chosen
        precision = np.stack(list(self.precision.values()))[chosen]
        pixels = np.stack(self.pixels)[chosen].sum(axis=0)
        scores = {
            "mAP": float(precision.mean()),
            "AP50": float(precision[:, 0].mean()),
            "accuracy": accuracy(pixels),
            "mean IoU": float(np.asarray(self.iou)[chosen].mean()),
            **{name: float(np.nanmean(values[1:])) for name, values in pixel_scores(pixels).items()},
        }
        if self.membranes:
            # As in the ISBI challenge, the best threshold of the mean over images.
            rand, info = self.v_by_threshold[:, chosen].mean(axis=1).max(axis=0)
            scores |= {"V_rand": float(rand), "V_info": float(info)}
        return scores

    def bootstrap(self) -> pd.DataFrame:
        """Return the scores of ``RESAMPLES`` samples of the images, drawn with replacement, a line for each.

        Two systems on the same images get the same samples, so that their difference is that of pairs.
        """
        rng, n = np.random.default_rng(0), len(self.pixels)
        return pd.DataFrame([self.scores(rng.integers(n, size=n)) for _ in range(RESAMPLES)])

    def class_scores(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, F1 and IoU of each pixel class."""
        scores = pixel_scores(self.confusion)
        return {
            name: {score: float(values[k]) for score, values in scores.items()}
            for k, name in enumerate(self.classes)
        }


def interval(samples: pd.Series) -> tuple[float, float]:
    """Return the limits between which 95 % of the samples of a bootstrap lie."""
    low, high = samples.quantile([0.025, 0.975])
    return float(low), float(high)


def class_map(maps: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Return the likeliest class of each pixel, int64 (H, W), 0 for background; the first of equals.

    The maps are exclusive, uint8 (C, H, W); ``background`` must be among them.
    """
    order = [list(channels).index("background")]
    order += [n for n, c in enumerate(channels) if c.startswith(CLASS_PREFIX)]
    return np.argmax(maps[order], axis=0)


def v_scores(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Return the F-scores of foreground-restricted V_rand and V_info (Arganda-Carreras et al. 2015), 0..1.

    The truth is integers (H, W) whose 0, on membranes, does not count; the prediction has no 0. With p the
    share of pixels in true cell t and predicted cell s: ``V_rand = 2 sum(p_st**2) / (sum(p_s**2) +
    sum(p_t**2))`` and ``V_info = 2 I(S; T) / (H(S) + H(T))``.
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
    """Split an image into cells, int32 (H, W) without 0, whose membranes are lines.

    ``inside`` is uint8 (H, W), the probability of not being membrane; its pieces above the ``threshold``,
    0..1, grow together. The ISBI challenge thins membranes likewise before it scores.
    """
    pieces = cv2.connectedComponents((inside >= threshold * 255).astype(np.uint8), connectivity=4)[1]
    return np.asarray(watershed(255 - inside, pieces)) if pieces.any() else np.ones(inside.shape, np.int32)
