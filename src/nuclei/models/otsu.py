"""Otsu's threshold as a network without weights: the baseline of every table."""

from __future__ import annotations

import torch
from skimage.filters import threshold_otsu

from nuclei.models.base import SegmentationNetwork


class Otsu(SegmentationNetwork):
    """Threshold each image by Otsu's method (Otsu 1979, IEEE Trans. SMC 9:62): the ``nucleus`` map."""

    def __init__(self, n_channels: int = 1) -> None:
        super().__init__(stride=1)
        if n_channels != 1:
            raise ValueError(f"expected n_channels=1, got {n_channels}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of ±20 for images ``(B, 1, H, W)``: probabilities of 0 and 1."""
        return torch.stack([torch.where(image > _threshold(image), 20.0, -20.0) for image in x])


def _threshold(image: torch.Tensor) -> float:
    flat = image.float().cpu().numpy()
    return float(threshold_otsu(flat)) if flat.min() < flat.max() else float(flat.max())
