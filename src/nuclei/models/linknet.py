"""The LinkNet of Arra et al. 2018, section 6; smp's ``Linknet`` is that of its authors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.models.base import Initialisation, SegmentationNetwork, convolutions, initialise


class LinkNet(SegmentationNetwork):
    """Encoders that halve the resolution, decoders that double it, and a sum in between.

    An encoder is two parallel convolutions of 3×3 ("two networks of convolutional layers, but one is
    strided"), average-pooling behind the one that is not, their sum, and two more convolutions; each with
    batch normalisation and ReLU. A decoder is a 1×1 convolution, a transposed one of 3×3 with stride 2, and
    dropout.
    The features of an encoder are added to what the decoder below it gives, brought to as many channels by
    1×1.

    Args:
        features: channels of the encoders: 64, 128 (and 256, 512).
        decoder: channels of the decoders, the paper's "first" (16) at full resolution: 16, 32 (and 64, 128).
        dropout: probability, in the decoders.
    """

    def __init__(
        self,
        features: Sequence[int],
        decoder: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        dropout: float = 0.1,
        initialisation: Initialisation = "he",
    ) -> None:
        super().__init__(2 ** len(features), preprocessing, size)
        inputs = [in_channels(preprocessing), *features[:-1]]
        self.encoders = nn.ModuleList(Encoder(a, b) for a, b in zip(inputs, features, strict=True))
        inputs = [*decoder[1:], features[-1]]
        self.decoders = nn.ModuleList(Decoder(a, b, dropout) for a, b in zip(inputs, decoder, strict=True))
        self.links = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(features[:-1], decoder[1:], strict=True)
        )
        self.head = nn.Conv2d(decoder[0], n_channels, 1)
        initialise(self, initialisation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        for n in reversed(range(len(self.decoders))):
            x = self.decoders[n](x)
            x = x + self.links[n - 1](skips[n - 1]) if n else x
        return self.head(x)


class Encoder(nn.Module):
    """An encoder of ``LinkNet``: halves the resolution and gives ``features`` channels."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        strided = nn.Conv2d(inputs, features, 3, stride=2, padding=1, bias=False)
        self.strided = nn.Sequential(strided, nn.BatchNorm2d(features), nn.ReLU(inplace=True))
        self.pooled = nn.Sequential(*convolutions(inputs, features, 1, norm=True), nn.AvgPool2d(2))
        self.more = convolutions(features, features, 2, norm=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(B, features, H/2, W/2)`` of ``(B, inputs, H, W)``."""
        return self.more(self.strided(x) + self.pooled(x))


class Decoder(nn.Sequential):
    """A decoder of ``LinkNet``: doubles the resolution and gives ``features`` channels."""

    def __init__(self, inputs: int, features: int, dropout: float) -> None:
        super().__init__(
            *convolutions(inputs, features, 1, norm=True, kernel=1),
            nn.ConvTranspose2d(features, features, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
