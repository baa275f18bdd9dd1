"""U-Nets (Ronneberger et al. 2015) as the papers draw them: same-padded, of any width and depth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing, in_channels
from nuclei.models.base import Initialisation, SegmentationNetwork, convolutions, initialise


class UNet(SegmentationNetwork):
    """Levels of convolutions and max-pooling, and the way back with the skipped features beside.

    Args:
        features: channels of each level, from full resolution down to the lowest.
        convs: convolutions of a level on the way down.
        convs_up: the same on the way up.
        last_convs: the same on the highest level of the way up; None for ``convs_up``.
        decoder: channels of each level on the way up, lowest first; None mirrors ``features``.
        up: ``transpose`` learns the upsampling, ``bilinear`` interpolates.
        first_kernel: side of the convolutions of the first level, odd.
        up_kernel: side of a transposed convolution, 2 or 3.
        norm: batch normalisation.
        dropout: probability, behind the convolutions of each level.
        softmax: exactly one channel is true at each pixel.
        stems: separate first convolutions for grey and for coloured images.
    """

    def __init__(
        self,
        features: Sequence[int],
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        convs: int = 2,
        convs_up: int = 2,
        last_convs: int | None = None,
        decoder: Sequence[int] | None = None,
        up: str = "transpose",
        up_kernel: int = 2,
        norm: bool = False,
        dropout: float = 0.0,
        softmax: bool = False,
        stems: bool = False,
        initialisation: Initialisation = "he",
        first_kernel: int = 3,
    ) -> None:
        super().__init__(2 ** (len(features) - 1), preprocessing, size, "softmax" if softmax else "sigmoid")
        colours = in_channels(preprocessing)
        back = list(decoder or features[-2::-1])
        self.stems = Stems(features[0]) if stems else None
        self.down = nn.ModuleList(
            [convolutions(features[0] if stems else colours, features[0], convs, norm, dropout, first_kernel)]
            + [convolutions(a, b, convs, norm, dropout) for a, b in pairwise(features)]
        )
        self.upsampling, self.up = nn.ModuleList(), nn.ModuleList()
        below = features[-1]
        for n, (skip, out) in enumerate(zip(features[-2::-1], back, strict=True)):
            last = n == len(back) - 1
            count = convs_up if not last or last_convs is None else last_convs
            self.upsampling.append(upsampling(below, out, up, up_kernel))
            joined = skip + (out if up == "transpose" else below)
            self.up.append(convolutions(joined, out, count, norm, dropout))
            below = out if count else joined
        self.head = nn.Conv2d(below, n_channels, 1)
        initialise(self, initialisation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stems is not None:
            x = self.stems(x)
        skips: list[torch.Tensor] = []
        for n, level in enumerate(self.down):
            x = level(nn.functional.max_pool2d(x, 2) if n else x)
            skips.append(x)
        for upsample, level, skip in zip(self.upsampling, self.up, skips[-2::-1], strict=True):
            x = level(torch.cat([skip, upsample(x)], dim=1))
        return self.head(x)


class Stems(nn.Module):
    """One first convolution for grey images, one for coloured ones, the rest shared (Haigh et al. 2018)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.grey, self.colour = nn.Conv2d(1, features, 3, padding=1), nn.Conv2d(3, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of RGB images ``(B, 3, H, W)``; an image whose channels agree is grey."""
        grey = (x == x[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)
        return torch.where(grey, self.grey(x[:, :1]), self.colour(x)).relu()


def upsampling(inputs: int, features: int, method: str, kernel: int) -> nn.Module:
    """Return a layer that doubles the resolution.

    ``transpose`` is a transposed convolution with a kernel of 2 or 3; ``bilinear`` keeps the input channels.

    Raises:
        ValueError: another method.
    """
    if method == "bilinear":
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    if method != "transpose":
        raise ValueError(f"up={method}: expected transpose or bilinear")
    padding = (kernel - 1) // 2
    return nn.ConvTranspose2d(inputs, features, kernel, stride=2, padding=padding, output_padding=kernel % 2)
