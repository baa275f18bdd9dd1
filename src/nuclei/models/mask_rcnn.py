"""Mask R-CNN (He et al. 2017; Wang 2021, section III.B.4): torchvision's, behind the common base class."""

from __future__ import annotations

from typing import ClassVar
from urllib.error import URLError

import torch
from torch import nn
from torch.nn.functional import max_pool2d
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.mask_rcnn import MaskRCNN as TorchvisionMaskRCNN
from torchvision.ops import masks_to_boxes

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork
from nuclei.models.pretrained import no_weights


class MaskRCNN(SegmentationNetwork):
    """Torchvision's Mask R-CNN with a feature pyramid; its objects become ``nucleus`` and ``border`` maps.

    Each object gives its mask's probability times its score; ``nucleus`` is the highest at each pixel,
    ``border`` the highest among the rims of the masks (cut at a half), so that touching objects stay apart
    in both.

    Args:
        backbone: ``resnet18`` to ``resnet101``.
        weights: of the backbone, or None.
        n_channels: 2.
        detections: most objects in an image.
        preprocessing: how images are shown; a single plane is repeated three times.
        size: side that whole images are resized to, or None.

    Raises:
        UserError: ``n_channels`` is not 2, or the weights cannot be fetched.
    """

    has_own_loss: ClassVar[bool] = True

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        n_channels: int,
        detections: int = 300,
        preprocessing: Preprocessing = "rgb",
        size: int | None = None,
    ) -> None:
        super().__init__(32, preprocessing, size)
        if n_channels != 2:
            raise UserError(f"Mask R-CNN gives the channels nucleus and border, got {n_channels} channels")
        try:
            pyramid = resnet_fpn_backbone(backbone_name=backbone, weights=weights, trainable_layers=5)
        except (URLError, OSError, ValueError) as e:
            raise no_weights(backbone, weights, "model.network.weights", e) from e
        self.body = TorchvisionMaskRCNN(pyramid, 2, box_detections_per_img=detections, _skip_resize=True)

    def training_loss(
        self, images: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, loss: nn.Module
    ) -> torch.Tensor:
        """Return the sum of torchvision's losses of classes, boxes and masks; ``loss`` is not used."""
        losses = self.body(list(images.expand(-1, 3, -1, -1)), [objects_of(each) for each in labels])
        return sum(losses.values(), images.new_zeros(()))

    def predict_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities ``(B, 2, H, W)`` of images ``(B, C, H, W)``."""
        detections = self.body(list(images.expand(-1, 3, -1, -1)))
        shape = images.shape[-2:]
        return torch.stack([maps_of(d["masks"][:, 0], d["scores"], shape) for d in detections])


def objects_of(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return boxes, classes and masks of labels ``(H, W)``, as torchvision wants them.

    Nuclei one pixel wide have no box and are left out.
    """
    numbers = labels.unique()
    masks = labels == numbers[numbers > 0].view(-1, 1, 1)
    boxes = masks_to_boxes(masks) if len(masks) else labels.new_zeros((0, 4)).float()
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    classes = torch.ones(int(kept.sum()), dtype=torch.int64, device=labels.device)
    return {"boxes": boxes[kept].float(), "labels": classes, "masks": masks[kept].to(torch.uint8)}


def maps_of(masks: torch.Tensor, scores: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return ``nucleus`` and ``border`` ``(2, H, W)`` of masks ``(N, H, W)`` in [0, 1], scores ``(N,)``."""
    maps = masks.new_zeros((2, *shape))
    for mask, score in zip(masks, scores, strict=True):  # one at a time: hundreds of masks fill the memory
        inside = (mask > 0.5).float()
        rim = inside - (1 - max_pool2d(1 - inside[None], 3, stride=1, padding=1)[0])
        maps[0] = torch.maximum(maps[0], mask * score)
        maps[1] = torch.maximum(maps[1], rim * score)
    return maps
