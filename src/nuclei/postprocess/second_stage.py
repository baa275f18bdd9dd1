"""The second stage: boosted trees choose among the nuclei that several thresholds of the watershed give.

The features are those of a candidate's outline, of the maps and of its neighbours. LightGBM grows the trees
(``nuclei.ensemble.fit_second_stage``), and ``lightgbm.Booster(model_str=…)`` reads the same text with the
same predictions. Predicting does without that library: its import takes seconds, and the compiled sum of
trees is the faster one for the few hundred candidates of an image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import (
    N_SHAPE_SUMS,
    best_ious,
    object_sums,
    pair_runs,
    select_best_first,
    sum_of_trees,
)
from nuclei.postprocess.components import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed, offset_border

MAPS = ("nucleus", "border", "distance")
EXACT_AREA = 1e5  # pixels; up to there even the moments of a line fit into 64 bits


class ImageNuclei(NamedTuple):
    """The nuclei of an image, with which each candidate is compared; ``share`` is what they cover, 0..1."""

    median_area: float
    number: float
    share: float

    @classmethod
    def of(cls, areas: np.ndarray, pixels: int) -> ImageNuclei:
        """Summarise the nuclei of an image of ``pixels`` pixels from their areas, ``(N,)``."""
        return cls(float(np.median(areas)) if len(areas) else 1.0, len(areas), areas.sum() / pixels)


def candidate_features(
    candidates: Sequence[np.ndarray], maps: Mapping[str, np.ndarray], image: ImageNuclei | None = None
) -> list[np.ndarray]:
    """Return the features of every object of several label maps of one image.

    Args:
        candidates: int32 (H, W) each, numbered without gaps; the objects of the first one are the image's
            nuclei with which sizes are compared.
        maps: uint8 (H, W) by name, ``nucleus`` among them; offsets count by their ``offset_border``.
        image: the nuclei of the whole image, where the maps are a part of it.

    Returns:
        For each label map float32 (N, F): shape, neighbours, mean and extremes of the maps, the area compared
        with the image's other nuclei, and the IoU with the best fitting object of each label map, which is
        high for objects that many thresholds agree on.
    """
    planes = np.stack(
        [
            offset_border(maps["offset_y"], maps["offset_x"]) if name == "offset_border" else maps[name]
            for name in feature_maps(maps)
        ]
    )
    counts = [int(labels.max(initial=0)) for labels in candidates]
    sums = [object_sums(labels, n, planes)[1:] for labels, n in zip(candidates, counts, strict=True)]
    image = image or ImageNuclei.of(sums[0][:, 0], planes[0].size)
    return [
        np.column_stack([_shape_features(t), _map_features(t), _image_features(t, image), agreement]).astype(
            np.float32
        )
        for t, agreement in zip(sums, _agreements(candidates, counts), strict=True)
    ]


def feature_maps(channels: Collection[str]) -> list[str]:
    """Return the names of the maps that give features; ``offset_border`` stands for the two offsets."""
    offsets = {"offset_y", "offset_x"} <= set(channels)
    return [name for name in MAPS if name in channels] + ["offset_border"] * offsets


def _shape_features(sums: np.ndarray) -> np.ndarray:
    """Return features of the outline, float64 (N, 6).

    Area, the ratio of the axes of the ellipse with the same moments, the area over that of the ellipse, edge
    pixels squared over the area, and the shares of edge pixels at other objects and at the image's border.
    """
    area = sums[:, 0]
    vy, vx, vyx = (_central_moment(sums, *columns) for columns in ((1, 1, 3), (2, 2, 4), (1, 2, 5)))
    vy, vx = vy + 1 / 12, vx + 1 / 12
    root = np.sqrt(((vy - vx) / 2) ** 2 + vyx**2)
    long, short = (vy + vx) / 2 + root, np.maximum((vy + vx) / 2 - root, 1e-3)
    edge = np.maximum(sums[:, 6], 1)
    ellipse = area / (4 * np.pi * np.sqrt(long * short))
    roughness = sums[:, 6] ** 2 / area
    return np.column_stack(
        [area, np.sqrt(long / short), ellipse, roughness, sums[:, 7] / edge, sums[:, 8] / edge]
    )


def _central_moment(sums: np.ndarray, a: int, b: int, product: int) -> np.ndarray:
    """Return a second moment about the centre, float64 (N,); in integers, so that flips do not change it."""
    area = sums[:, 0].astype(float)
    exact = (sums[:, 0] * sums[:, product] - sums[:, a] * sums[:, b]) / area**2
    rounded = sums[:, product] / area - (sums[:, a] / area) * (sums[:, b] / area)
    return np.where(area < EXACT_AREA, exact, rounded)


def _map_features(sums: np.ndarray) -> np.ndarray:
    """Return features of the C maps, float64 (N, 3 C + 2).

    The mean, the mean at the edge and the maximum of each map; of the first map also the standard deviation
    and the mean over the background next to the object.
    """
    area, edge = sums[:, :1], np.maximum(sums[:, 6:7], 1)
    inside, at_edge, highest = (sums[:, N_SHAPE_SUMS + k :: 3] for k in range(3))
    deviation = np.sqrt(np.maximum(sums[:, 9] / sums[:, 0] - (inside[:, 0] / sums[:, 0]) ** 2, 0))
    outside = sums[:, 11] / np.maximum(sums[:, 10], 1)
    return np.column_stack([inside / area, at_edge / edge, highest, deviation, outside])


def _image_features(sums: np.ndarray, image: ImageNuclei) -> np.ndarray:
    """Return the area over the median area, and ``image``: that median, the nuclei, the share they cover."""
    return np.column_stack([sums[:, 0] / image.median_area, np.broadcast_to(np.array(image), (len(sums), 3))])


def _agreements(candidates: Sequence[np.ndarray], counts: Sequence[int]) -> list[np.ndarray]:
    """Return the highest IoU of each object with an object of each of K label maps, float64 (N, K) each."""
    best = [np.ones((n, len(counts))) for n in counts]
    for i, j in combinations(range(len(counts)), 2):
        a, b = best_ious(*pair_runs(candidates[i].ravel(), candidates[j].ravel()))
        best[i][:, j], best[j][:, i] = a[1:], b[1:]
    return best


NUMERICAL = "2"
"""LightGBM's decision type of a comparison of numbers in which no value is missing."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees as arrays, one after the other; for the arrays see ``nuclei.labelmap.objects.sum_of_trees``."""

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

        Where the maps are a part of an image, ``image`` are the nuclei of the whole one.

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
