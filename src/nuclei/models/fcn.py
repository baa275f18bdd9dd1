"""The plain convolutional networks of two papers, without a way back to full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.models.base import Initialisation, SegmentationNetwork, convolutions, initialise


class Fcn(SegmentationNetwork):
    """Convolutions of 3×3 with ReLU, each followed by max-pooling, then one of 1×1 (Arra et al. 2018,
    section 4).

    The paper ends at 16×16 for an input of 128×128, so there are three poolings; how the maps come back to
    the size of the image the paper does not say, and its score of 0.0072 fits maps without detail: here they
    are interpolated bilinearly. ``features`` are the channels of each convolution.
    """

    def __init__(
        self,
        features: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        initialisation: Initialisation = "he",
    ) -> None:
        super().__init__(2 ** len(features), preprocessing, size)
        pairs = pairwise([in_channels(preprocessing), *features])
        levels = (nn.Sequential(convolutions(a, b, 1), nn.MaxPool2d(2)) for a, b in pairs)
        self.body = nn.Sequential(*levels, nn.Conv2d(features[-1], n_channels, 1))
        initialise(self, initialisation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.body(x), x.shape[-2:], mode="bilinear", align_corners=False)


class SimpleCnn(SegmentationNetwork):
    """Batch normalisation, six convolutions of 3×3, one of 1×1 with a sigmoid (Wang 2021, section III.B.1).

    The text calls the six layers dense; over an image of any size a dense layer at each pixel is a
    convolution. ``features`` are the channels of the six.
    """

    def __init__(
        self,
        features: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        initialisation: Initialisation = "he",
    ) -> None:
        super().__init__(1, preprocessing, size)
        inputs = in_channels(preprocessing)
        convs = (convolutions(a, b, 1) for a, b in pairwise([inputs, *features]))
        self.body = nn.Sequential(nn.BatchNorm2d(inputs), *convs, nn.Conv2d(features[-1], n_channels, 1))
        initialise(self, initialisation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)
