"""From any image to its nuclei: networks, the channels they share, and the post-processing tuned for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nuclei.inference.networks import Voter, average
from nuclei.postprocess.pipeline import postprocess


@dataclass(frozen=True)
class Segmenter:
    """All that turns an image into a label map.

    Attributes:
        voters: networks; their weights sum to 1.
        channels: names of the maps that every voter has and the steps use.
        steps: of post-processing.
    """

    voters: Sequence[Voter]
    channels: Sequence[str]
    steps: Sequence[Any]

    def maps(self, image: np.ndarray) -> np.ndarray:
        """``uint8 (C, H, W)`` probabilities times 255 of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        return average(self.voters, self.channels, image)

    def labels(self, maps: np.ndarray) -> np.ndarray:
        """``int32 (H, W)`` labels of maps; the quick part, which needs no network."""
        return postprocess(maps, self.channels, self.steps)
