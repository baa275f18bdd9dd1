"""Remove small objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RemoveSmall:
    """Remove objects of fewer than ``min_area`` pixels and close the gaps in the numbering.

    >>> RemoveSmall(min_area=2)(np.array([[1, 0, 2, 2]], np.int32))
    array([[0, 0, 1, 1]], dtype=int32)
    """

    min_area: int

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Take int32 (H, W) labels and return new ones."""
        areas = np.bincount(labels.ravel())
        keep = areas >= max(self.min_area, 1)
        keep[:1] = False
        return (np.cumsum(keep) * keep).astype(np.int32)[labels]
