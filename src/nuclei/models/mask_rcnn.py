"""Mask R-CNN (He et al. 2017; Wang 2021, section III.B.4): torchvision's, behind the common contract."""

from __future__ import annotations

from urllib.error import URLError

import torch
from torch import nn
from torch.nn.functional import max_pool2d
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.mask_rcnn import MaskRCNN as TorchvisionMaskRCNN
from torchvision.ops import masks_to_boxes

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError
from nuclei.models.base import describe
from nuclei.models.pretrained import no_weights


class MaskRCNN(nn.Module):
    """Torchvision's Mask R-CNN with a feature pyramid; its objects become ``nucleus`` and ``border`` maps.

    Each object gives its mask's probability times its score; ``nucleus`` is the highest at each pixel,
    ``border`` the highest among the rims of the masks (cut at a half), so that touching objects stay apart
    in both.

    Args:
        backbone: ``resnet18`` to ``resnet101``.
        weights: of the backbone, or None.
        n_channels: 2.
        detections: most objects in an image.
        preprocessing: how images are shown.
        size: side that whole images are resized to, or None.
    """

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        n_channels: int,
        detections: int = 300,
        preprocessing: Preprocessing = "rgb",
        size: int | None = None,
    ) -> None:
        super().__init__()
        if n_channels != 2:
            raise UserError(f"Mask R-CNN gives the channels nucleus and border, got {n_channels} channels")
        try:
            pyramid = resnet_fpn_backbone(backbone_name=backbone, weights=weights, trainable_layers=5)
        except (URLError, OSError, ValueError) as e:
            raise no_weights(backbone, weights, "model.network.weights", e) from e
        self.body = TorchvisionMaskRCNN(pyramid, 2, box_detections_per_img=detections, _skip_resize=True)
        describe(self, 32, preprocessing, size)

    def loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scalar loss of images ``(B, C, H, W)`` and label maps ``int (B, H, W)``."""
        objects = [targets_of(one) for one in labels]
        return sum(self.body(list(x.expand(-1, 3, -1, -1)), objects).values(), x.new_zeros(()))

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to probabilities ``(B, 2, H, W)``."""
        found = self.body(list(x.expand(-1, 3, -1, -1)))
        return torch.stack([maps_of(one["masks"][:, 0], one["scores"], x.shape[-2:]) for one in found])


def targets_of(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Boxes, classes and masks of labels ``(H, W)``; what is one pixel wide has no box and is left out."""
    numbers = labels.unique()
    masks = labels == numbers[numbers > 0].view(-1, 1, 1)
    boxes = masks_to_boxes(masks) if len(masks) else labels.new_zeros((0, 4)).float()
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    classes = torch.ones(int(kept.sum()), dtype=torch.int64, device=labels.device)
    return {"boxes": boxes[kept].float(), "labels": classes, "masks": masks[kept].to(torch.uint8)}


def maps_of(masks: torch.Tensor, scores: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """``nucleus`` and ``border`` ``(2, H, W)`` of mask probabilities ``(N, H, W)`` and scores ``(N,)``."""
    maps = masks.new_zeros((2, *shape))
    for mask, score in zip(masks, scores, strict=True):  # one at a time: hundreds of masks fill the memory
        inside = (mask > 0.5).float()
        rim = inside - (1 - max_pool2d(1 - inside[None], 3, stride=1, padding=1)[0])
        maps[0] = torch.maximum(maps[0], mask * score)
        maps[1] = torch.maximum(maps[1], rim * score)
    return maps
