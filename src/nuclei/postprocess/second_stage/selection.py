"""The second stage: the watershed at several thresholds, and of all nuclei it finds the most likely ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nuclei.errors import UserError
from nuclei.labelmap.objects import select_best_first
from nuclei.postprocess.second_stage.boosted_trees import unpack
from nuclei.postprocess.second_stage.candidate_features import described, features
from nuclei.postprocess.small_objects import RemoveSmall
from nuclei.postprocess.watershed import MapWatershed

SHIFTS = ((0.0, 0.0), (0.0, -0.16), (0.0, 0.11), (-0.16, -0.1), (-0.16, 0.04), (0.09, 0.0))
"""What candidates add to the thresholds of mask and markers; the first is the plain result."""
MARGIN = 0.04
"""What candidates of the tuned mask are ahead by: mostly their outline is the better one."""


@dataclass(frozen=True)
class Selection(MapWatershed):
    """Choose among the nuclei that several thresholds give.

    No threshold is right for every nucleus. Boosted trees, grown on out-of-fold maps, say of each candidate
    which share of the metric's thresholds its IoU will exceed; then the best are taken one by one, unless
    those already taken cover more than ``overlap`` of them, as in non-maximum suppression (compare the second
    level of the competition's winners, Topcoders 2018). What others cover is theirs, so a nucleus may end in
    pieces or below ``min_area``.

    Attributes:
        min_area: of a candidate, in pixels.
        least: share below which no candidate is taken, 0..1.
        overlap: see above, 0..1.
        maps: names of those that the trees were grown on, with spaces; see ``candidates.described``.
        trees: ``nuclei.postprocess.second_stage.boosted_trees.Trees.pack``; empty for the plain watershed.
    """

    min_area: int = 15
    least: float = 0.25
    overlap: float = 0.25
    maps: str = "nucleus border distance"
    trees: str = field(default="", repr=False)

    def __call__(self, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """Take uint8 (H, W) maps by name and return int32 (H, W) labels."""
        if not self.trees:
            return RemoveSmall(self.min_area)(super().__call__(maps))
        if (names := " ".join(described(maps))) != self.maps:
            raise UserError(
                f"the trees were grown on the maps {self.maps}, got {names}; make the ensemble again"
            )
        found = self.candidates(maps)
        return self.chosen(found, [unpack(self.trees).predict(rows) for rows in features(found, maps)])

    def candidates(self, maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Label maps, int32 (H, W), one for each of ``SHIFTS``."""
        return [self._shifted(*shift)(maps) for shift in SHIFTS]

    def chosen(self, candidates: list[np.ndarray], scores: list[np.ndarray]) -> np.ndarray:
        """The label map of the best candidates, given the score of each object of each label map."""
        layer = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
        number = np.concatenate([np.arange(1, len(s) + 1) for s in scores])
        score = np.concatenate(scores)
        ahead = np.array([MARGIN if mask == 0 else 0.0 for mask, _ in SHIFTS])[layer]
        order = np.lexsort((layer, -(score + ahead)))
        order = order[score[order] >= self.least]
        flat = np.stack([labels.ravel() for labels in candidates])
        labels = select_best_first(flat, layer[order], number[order], self.overlap)
        return labels.reshape(candidates[0].shape)

    def _shifted(self, mask: float, marker: float) -> Selection:
        """The plain watershed with other thresholds."""
        low, high, threshold = (
            float(np.clip(x, 0.02, 0.98))
            for x in (self.low + mask, self.high + mask, self.marker_threshold + marker)
        )
        return replace(self, low=low, high=max(low, high), marker_threshold=threshold, trees="")
