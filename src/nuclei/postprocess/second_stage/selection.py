"""The step of the second stage: a watershed at several thresholds, and the choice of the best nuclei."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import select_best_first
from nuclei.postprocess.second_stage.boosted_trees import read_trees
from nuclei.postprocess.second_stage.candidate_features import candidate_features, feature_maps
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed

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

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels.

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
        return self.select(candidates, [trees.predict(rows) for rows in candidate_features(candidates, maps)])

    def candidates(self, maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the label maps of the plain watershed, int32 (H, W), one for each of ``SHIFTS``."""
        return [self._shifted(*shift)(maps) for shift in SHIFTS]

    def select(self, candidates: list[np.ndarray], scores: list[np.ndarray]) -> np.ndarray:
        """Return the int32 (H, W) label map of the best candidates.

        Args:
            candidates: int32 (H, W) label maps.
            scores: for each label map the scores of its objects, float64 (N,).
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
