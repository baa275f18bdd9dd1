"""Removal of small objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nuclei.labelmap.regions import remove_small_objects


@dataclass(frozen=True)
class RemoveSmall:
    """Remove objects of fewer than ``min_area`` pixels and close the gaps in the numbering.

    >>> RemoveSmall(min_area=2)(np.array([[1, 0, 2, 2]], np.int32))
    array([[0, 0, 1, 1]], dtype=int32)
    """

    min_area: int

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Take int32 (H, W) labels and return new ones."""
        highest = int(labels.max(initial=0))
        return remove_small_objects(labels.ravel(), highest, max(self.min_area, 1)).reshape(labels.shape)
