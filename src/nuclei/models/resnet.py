"""A dilated ResNet as a segmenter (Wang 2021, section III.B.3): torchvision's."""

from __future__ import annotations

from urllib.error import URLError

import torch
from torch import nn
from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from nuclei.data.preprocessing import Preprocessing
from nuclei.models.base import describe
from nuclei.models.pretrained import no_weights

BACKBONES = {"resnet50": fcn_resnet50, "resnet101": fcn_resnet101}


class ResNet(nn.Module):
    """A ResNet whose last two stages are dilated in place of strided, with a small convolutional head.

    Args:
        backbone: ``resnet50`` or ``resnet101``.
        weights: of the backbone, ``IMAGENET1K_V1`` and the like; None trains from scratch.
        n_channels: number of maps.
        preprocessing: how images are shown; the network takes three channels, grey ones are repeated.
        size: side that whole images are resized to, or None.
    """

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        n_channels: int,
        preprocessing: Preprocessing = "rgb",
        size: int | None = None,
    ) -> None:
        super().__init__()
        build = BACKBONES[backbone]
        try:
            self.body = build(weights=None, weights_backbone=weights, num_classes=n_channels)
        except (URLError, OSError, ValueError) as e:
            raise no_weights(backbone, weights, "model.network.weights", e) from e
        describe(self, 8, preprocessing, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, 3, H, W)`` to logits ``(B, n_channels, H, W)``."""
        return self.body(x.expand(-1, 3, -1, -1))["out"]
