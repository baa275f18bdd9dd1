"""A dilated ResNet as a segmenter (Wang 2021, section III.B.3): torchvision's."""

from __future__ import annotations

from urllib.error import URLError

import torch
from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork
from nuclei.models.pretrained import no_weights

BACKBONES = {"resnet50": fcn_resnet50, "resnet101": fcn_resnet101}


class ResNet(SegmentationNetwork):
    """A ResNet whose last two stages are dilated in place of strided, with a small convolutional head.

    A single plane is repeated three times.

    Args:
        backbone: ``resnet50`` or ``resnet101``.
        weights: of the backbone, ``IMAGENET1K_V1`` and the like; None trains from scratch.

    Raises:
        UserError: no such backbone, or weights that cannot be fetched.
    """

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        n_channels: int,
        preprocessing: Preprocessing = "rgb",
        size: int | None = None,
    ) -> None:
        super().__init__(8, preprocessing, size)
        if backbone not in BACKBONES:
            raise UserError(f"model.network.backbone={backbone}: expected one of {', '.join(BACKBONES)}")
        try:
            self.body = BACKBONES[backbone](weights=None, weights_backbone=weights, num_classes=n_channels)
        except (URLError, OSError, ValueError) as e:
            raise no_weights(backbone, weights, "model.network.weights", e) from e

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_channels, H, W)`` of images ``(B, 1 or 3, H, W)``."""
        return self.body(x.expand(-1, 3, -1, -1))["out"]
