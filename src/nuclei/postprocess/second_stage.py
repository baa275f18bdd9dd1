"""The second stage: boosted trees choose among the nuclei that several thresholds of the watershed give.

LightGBM grows the trees (``nuclei.ensemble.fit_second_stage``), and ``lightgbm.Booster(model_str=…)`` reads
the same text with the same predictions. Predicting does without that library: its import takes seconds, and
the compiled sum of trees is the faster one for the few hundred candidates of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import select_best_first, sum_of_trees
from nuclei.postprocess.candidate_features import ImageNuclei, candidate_features, feature_maps
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed

NUMERICAL = "2"
"""LightGBM's decision type of a comparison of numbers in which no value is missing."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees as arrays, one after the other; for the arrays see ``nuclei.labelmap.objects.sum_of_trees``.

    Attributes:
        n_features: the number of features that the trees were grown on.
    """

    n_features: int
    roots: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaves: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the sum of the trees, float64 (n,), for rows of features, float32 (n, n_features).

        Raises:
            ValueError: the rows have more or fewer features than the trees were grown on.
        """
        if rows.shape[1] != self.n_features:
            raise ValueError(f"expected {self.n_features} features, got {rows.shape[1]}")
        arrays = self.roots, self.features, self.thresholds, self.left, self.right, self.leaves
        return sum_of_trees(np.ascontiguousarray(rows, np.float32), *arrays)


@lru_cache(maxsize=8)
def read_trees(text: str) -> Trees:
    """Read the text model of a regression by LightGBM.

    Raises:
        UserError: the text is damaged, or the trees have something but comparisons of numbers and constants.
    """
    try:
        header, *blocks = text.partition("end of trees")[0].split("\nTree=")
        n_features = int(_values(header)["max_feature_idx"]) + 1
        return _joined([_values(block) for block in blocks], n_features)
    except (KeyError, ValueError) as e:
        raise UserError(f"the trees of the post-processing are damaged ({e}); make the ensemble again") from e


def _values(block: str) -> dict[str, str]:
    """Split lines of ``key=value``."""
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}


def _joined(trees: list[dict[str, str]], n_features: int) -> Trees:
    """Put the arrays of all trees behind one another; KeyError or ValueError where they are none."""
    roots, parts, n_nodes, n_leaves = [], [], 0, 0
    for tree in trees:
        features, left, right = (
            np.array(tree[key].split(), np.int32) for key in ("split_feature", "left_child", "right_child")
        )
        thresholds, leaves = (np.array(tree[key].split(), np.float64) for key in ("threshold", "leaf_value"))
        nodes = np.arange(len(features))
        if not len(leaves) - 1 == len(nodes) == len(thresholds) == len(left) == len(right):
            raise ValueError("a tree's arrays have different lengths")
        if set(tree["decision_type"].split()) - {NUMERICAL} or tree["is_linear"] != "0":
            raise ValueError("a tree has something but comparisons of numbers and constants")
        if ((features < 0) | (features >= n_features)).any():
            raise ValueError("a node compares a feature that does not exist")
        for child in (left, right):  # a child behind its parent: so no sum runs in circles
            if ((child >= 0) & (child <= nodes) | (child >= len(nodes)) | (~child >= len(leaves))).any():
                raise ValueError("a node's child is not behind it")
            child += np.where(child >= 0, n_nodes, -n_leaves).astype(np.int32)
        roots.append(n_nodes if len(nodes) else ~n_leaves)
        parts.append((features, thresholds, left, right, leaves))
        n_nodes, n_leaves = n_nodes + len(nodes), n_leaves + len(leaves)
    if not trees:
        raise ValueError("there are none")
    return Trees(n_features, np.array(roots, np.int32), *map(np.concatenate, zip(*parts, strict=True)))


SHIFTS = ((0.0, 0.0), (0.0, -0.16), (0.0, 0.11), (-0.16, -0.1), (-0.16, 0.04), (0.09, 0.0))
"""Shifts of the thresholds of mask and markers, one pair for each set of candidates; the first is none."""
TUNED_MASK_BONUS = 0.04
"""Bonus added to the score of candidates from the tuned mask, which usually have the better outline."""


@dataclass(frozen=True)
class Selection(MapWatershed):
    """Choose among the nuclei that a watershed at several thresholds gives.

    No threshold is right for every nucleus. Boosted trees, grown on out-of-fold maps, predict for each
    candidate the share of the metric's thresholds that its IoU exceeds. Candidates are then taken in the
    order of this score, except those of which earlier ones cover more than ``max_overlap``, as in
    non-maximum suppression (compare the second level of the competition's winners, Topcoders 2018). A pixel
    belongs to the first candidate taken, so a nucleus may end in pieces or below ``min_area``.

    Attributes:
        min_area: smallest area of a candidate, in pixels.
        min_score: candidates with a lower score are dropped, 0..1.
        max_overlap: see above, 0..1.
        maps: names of the maps that the trees were grown on, with spaces; see ``feature_maps``.
        trees: LightGBM's text model; empty for the plain watershed.
    """

    min_area: int = 15
    min_score: float = 0.25
    max_overlap: float = 0.25
    maps: str = "nucleus border distance"
    trees: str = field(default="", repr=False)

    def __call__(self, maps: Mapping[str, np.ndarray], image: ImageNuclei | None = None) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels.

        Args:
            maps: of an image, or of a part of it.
            image: the nuclei of the whole image, where the maps are a part.

        Raises:
            UserError: the trees were grown on other maps, or are damaged.
        """
        if not self.trees:
            return RemoveSmall(self.min_area)(super().__call__(maps))
        if (names := " ".join(feature_maps(maps))) != self.maps:
            raise UserError(
                f"the trees were grown on the maps {self.maps}, got {names}; make the ensemble again"
            )
        candidates, trees = self.candidates(maps), read_trees(self.trees)
        features = candidate_features(candidates, maps, image)
        return self.select(candidates, [trees.predict(rows) for rows in features])

    def candidates(self, maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the label maps of the plain watershed, int32 (H, W), one for each of ``SHIFTS``."""
        return [self._shifted(*shift)(maps) for shift in SHIFTS]

    def first_candidates(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the first of ``candidates``, whose sizes all are compared with."""
        return self._shifted(*SHIFTS[0])(maps)

    def select(self, candidates: list[np.ndarray], scores: list[np.ndarray]) -> np.ndarray:
        """Return the int32 (H, W) label map of the best candidates.

        For each label map, int32 (H, W), there are the scores of its objects, float64 (N,).
        """
        layer = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
        label = np.concatenate([np.arange(1, len(s) + 1) for s in scores])
        score = np.concatenate(scores)
        bonus = np.array([TUNED_MASK_BONUS if mask == 0 else 0.0 for mask, _ in SHIFTS])[layer]
        order = np.lexsort((layer, -(score + bonus)))
        order = order[score[order] >= self.min_score]
        flat = np.stack([labels.ravel() for labels in candidates])
        selected = select_best_first(flat, layer[order], label[order], self.max_overlap)
        return selected.reshape(candidates[0].shape)

    def _shifted(self, mask: float, marker: float) -> Selection:
        """Return the plain watershed with its thresholds shifted."""
        low, high, threshold = (
            float(np.clip(x, 0.02, 0.98))
            for x in (self.low + mask, self.high + mask, self.marker_threshold + marker)
        )
        return replace(self, low=low, high=max(low, high), marker_threshold=threshold, trees="")
