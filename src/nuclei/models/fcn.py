"""The plain convolutional networks of two papers, without a way back to full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.models.base import describe
from nuclei.models.blocks import convolutions


class Fcn(nn.Module):
    """Convolutions of 3×3 with ReLU, each followed by max-pooling, then one of 1×1 (Arra et al. 2018,
    section 4).

    The paper ends at 16×16 for an input of 128×128, so there are three poolings; how it brings that back to
    the size of the image it does not say, and a score of 0.0072 fits a map without detail: here bilinearly.

    Args:
        features: channels of each convolution.
        n_channels: number of maps.
        preprocessing: how images are shown.
        size: side that whole images are resized to, or None.
    """

    def __init__(
        self,
        features: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
    ) -> None:
        super().__init__()
        before = [in_channels(preprocessing), *features[:-1]]
        levels = (
            nn.Sequential(convolutions(a, b, 1), nn.MaxPool2d(2))
            for a, b in zip(before, features, strict=True)
        )
        self.body = nn.Sequential(*levels, nn.Conv2d(features[-1], n_channels, 1))
        describe(self, 2 ** len(features), preprocessing, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to logits ``(B, n_channels, H, W)``."""
        return nn.functional.interpolate(self.body(x), x.shape[-2:], mode="bilinear", align_corners=False)


class SimpleCnn(nn.Module):
    """Batch normalisation, six convolutions of 3×3, one of 1×1 with a sigmoid (Wang 2021, section III.B.1).

    The text calls the six layers dense; over an image of any size a dense layer at each pixel is a
    convolution.

    Args:
        features: channels of the six.
        n_channels: number of maps.
        preprocessing: how images are shown.
        size: side that whole images are resized to, or None.
    """

    def __init__(
        self,
        features: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
    ) -> None:
        super().__init__()
        before = [in_channels(preprocessing), *features[:-1]]
        convs = (convolutions(a, b, 1) for a, b in zip(before, features, strict=True))
        self.body = nn.Sequential(nn.BatchNorm2d(before[0]), *convs, nn.Conv2d(features[-1], n_channels, 1))
        describe(self, 1, preprocessing, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to logits ``(B, n_channels, H, W)``."""
        return self.body(x)
