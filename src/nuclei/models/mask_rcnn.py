"""Mask R-CNN (He et al. 2017; Wang 2021, section III.B.4): torchvision's heads, and maps of its objects."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import timm
import torch
from timm.layers import GroupNorm, freeze_batch_norm_2d
from torch import nn
from torch.nn.functional import max_pool2d
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import FeaturePyramidNetwork, masks_to_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork, keep_depthwise_in_float32
from nuclei.models.pretrained import timm_features

Norm = Literal["group", "frozen"]

ANCHORS = (8, 16, 32, 64, 128)
"""Sides of the anchors in pixels, one a level of the pyramid; nuclei are smaller than COCO's objects."""


class MaskRCNN(SegmentationNetwork):
    """A feature pyramid with torchvision's heads; its objects become ``nucleus`` and ``border`` maps.

    Unlike torchvision's, the network sees training and test images at the same size. Boxes are computed in
    float32, since bfloat16 has steps of two pixels beyond 256. Batches of two images cannot learn a batch
    normalisation, so it is frozen where the encoder is pretrained, else replaced by group normalisation. A
    single plane is repeated three times.

    Args:
        backbone: timm's name of an encoder, such as ``resnet101`` or ``tf_efficientnet_lite0``.
        weights: ``imagenet``, or None for untrained ones.
        norm: of the backbone, ``group`` or ``frozen`` batch normalisation.
        detections: most objects in an image.
        regions: regions of an image from which the heads learn in a step.

    Raises:
        UserError: ``n_channels`` is not 2, the backbone is unknown, or the weights cannot be fetched.
    """

    has_own_loss: ClassVar[bool] = True

    def __init__(
        self,
        backbone: str,
        weights: str | None,
        n_channels: int,
        norm: Norm,
        detections: int = 300,
        regions: int = 64,
        preprocessing: Preprocessing = "rgb",
        size: int | None = None,
    ) -> None:
        super().__init__(32, preprocessing, size)
        if n_channels != 2:
            raise UserError(f"Mask R-CNN gives the channels nucleus and border, got {n_channels} channels")
        self.body = TorchvisionMaskRCNN(
            Pyramid(backbone, weights, norm),
            num_classes=2,
            rpn_anchor_generator=AnchorGenerator(
                tuple((side,) for side in ANCHORS), ((0.5, 1.0, 2.0),) * len(ANCHORS)
            ),
            box_detections_per_img=detections,
            box_batch_size_per_image=regions,
            box_score_thresh=0.5,
        )

    def training_loss(
        self, images: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, loss: nn.Module
    ) -> torch.Tensor:
        """Return the sum of torchvision's losses of classes, boxes and masks; ``loss`` is not used."""
        _, losses = self._detect(images, [objects_of(each) for each in labels])
        return sum(losses.values(), images.new_zeros(()))

    def predict_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``float32 (B, 2, H, W)`` in [0, 1] of images ``(B, C, H, W)``."""
        shape = (images.shape[2], images.shape[3])
        detections, _ = self._detect(images, None)
        return torch.stack(
            [maps_of(paste_masks_in_image(d["masks"], d["boxes"], shape)[:, 0]) for d in detections]
        )

    def _detect(
        self, images: torch.Tensor, objects: list[dict[str, torch.Tensor]] | None
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """Return the objects found in each image, in evaluation mode, and the losses, in training mode."""
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        features = {name: level.float() for name, level in self.body.backbone(images).items()}
        with torch.autocast(images.device.type, enabled=False):
            proposals, losses = self.body.rpn(ImageList(images.float(), sizes), features, objects)
            detections, head_losses = self.body.roi_heads(features, proposals, sizes, objects)
        return detections, losses | head_losses


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017), strides 4 to 64, on an encoder behind the scaling of its input."""

    out_channels = 256

    def __init__(self, encoder: str, weights: str | None, norm: Norm) -> None:
        super().__init__()
        options = {"norm_layer": GroupNorm} if norm == "group" else {}
        features: Any = timm_features(encoder, weights, (1, 2, 3, 4), **options)
        self.encoder: nn.Module = freeze_batch_norm_2d(features) if norm == "frozen" else features
        keep_depthwise_in_float32(self.encoder)
        channels = features.feature_info.channels()
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels, LastLevelMaxPool())
        scaling = timm.data.resolve_data_config({}, model=features)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(scaling["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(scaling["std"]).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return features ``(B, 256, H / stride, W / stride)`` by level of images ``(B, 1 or 3, H, W)``."""
        features = self.encoder((x - self.mean) / self.std)
        return self.pyramid({str(n): level for n, level in enumerate(features)})


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


def maps_of(masks: torch.Tensor) -> torch.Tensor:
    """Return the maps ``nucleus`` and ``border``, ``(2, H, W)``, of the masks of objects, ``(N, H, W)``.

    All are float32 in [0, 1]. Each pixel belongs to the mask that is surest of it; ``nucleus`` is that mask's
    probability, ``border`` is 1 where objects touch, on both sides, so that post-processing keeps them apart.
    """
    if not len(masks):
        return masks.new_zeros((2, *masks.shape[1:]))
    nucleus, owner = masks.max(0)
    number = torch.where(nucleus > 0.5, owner + 1, 0)[None].float()
    absent = float(len(masks) + 1)
    highest = max_pool2d(number, 3, stride=1, padding=1)
    lowest = absent - max_pool2d(torch.where(number > 0, absent - number, 0.0), 3, stride=1, padding=1)
    return torch.stack([nucleus, ((number > 0) & (highest != lowest))[0].float()])
