"""SegNet (Badrinarayanan et al. 2015): max-unpooling with the indices that pooling stored."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import max_pool2d

from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.models.base import Initialisation, SegmentationNetwork, convolutions, initialise

# Channels and number of the 13 convolutions of VGG-16.
LEVELS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class SegNet(SegmentationNetwork):
    """Thirteen convolutions down, thirteen up, the last of which gives the maps.

    ``width`` is a factor of all channels; 1 is the paper's.
    """

    def __init__(
        self,
        n_channels: int,
        width: float = 1.0,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        initialisation: Initialisation = "he",
    ) -> None:
        super().__init__(2 ** len(LEVELS), preprocessing, size)
        levels = [(max(1, round(features * width)), count) for features, count in LEVELS]
        inputs = [in_channels(preprocessing), *(features for features, _ in levels[:-1])]
        self.down = nn.ModuleList(
            convolutions(a, b, count, norm=True) for a, (b, count) in zip(inputs, levels, strict=True)
        )
        after = [levels[0][0], *inputs[1:]]
        self.up = nn.ModuleList(
            nn.Sequential(
                convolutions(features, features, count - 1, norm=True),
                convolutions(features, out, 1, norm=True)
                if n
                else nn.Conv2d(features, n_channels, 3, padding=1),
            )
            for n, (out, (features, count)) in enumerate(zip(after, levels, strict=True))
        )
        initialise(self, initialisation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        indices = []
        for level in self.down:
            x, index = max_pool2d(level(x), 2, return_indices=True)
            indices.append(index)
        for level in reversed(self.up):
            x = level(unpool(x, indices.pop()))
        return x


def unpool(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Put each value where ``max_pool2d`` found it, zeros elsewhere; torch's own is not deterministic.

    Values and indices, into images of ``(2H, 2W)``, are ``(B, C, H, W)``.
    """
    b, c, h, w = x.shape
    flat = x.new_zeros((b, c, 4 * h * w)).scatter(2, indices.flatten(2), x.flatten(2))
    return flat.view(b, c, 2 * h, 2 * w)
