"""Objects become maps, and label maps become objects."""

import pytest
import torch
from timm.layers import FrozenBatchNormAct2d, GroupNorm
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from nuclei.errors import UserError
from nuclei.models.mask_rcnn import MaskRCNN, maps_of, objects_of


def test_objects_become_maps_that_keep_touching_ones_apart():
    masks = torch.zeros(2, 6, 9)
    masks[0, 1:5, 1:5], masks[1, 1:5, 4:8] = 0.9, 0.8
    nucleus, border = maps_of(masks)
    assert nucleus[2].tolist() == pytest.approx([0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0])
    assert border[2].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert not border[0].any() and not maps_of(torch.zeros(0, 6, 9)).any()


def test_most_nuclei_have_an_anchor_of_their_size():
    sides = torch.tensor([9.0, 11.0, 16.0, 24.0, 40.0, 90.0])
    nuclei = torch.stack([200 - sides / 2, 200 - sides / 2, 200 + sides / 2, 200 + sides / 2], 1)
    network = MaskRCNN("resnet18", None, 2, "group").eval()
    images = ImageList(torch.zeros(1, 3, 384, 384), [(384, 384)])
    levels = [torch.zeros(1, 256, 384 // 2**n, 384 // 2**n) for n in range(2, 7)]
    anchors = network.body.rpn.anchor_generator(images, levels)[0]
    assert box_iou(nuclei, anchors).max(1).values.min() > 0.3


def test_training_and_prediction_see_one_size_and_boxes_stay_in_float32():
    network, seen = MaskRCNN("resnet18", None, 2, "group", regions=8), []
    network.body.backbone.register_forward_hook(
        lambda _, inputs, features: seen.append((inputs[0].shape, [f.shape[-1] for f in features.values()]))
    )
    labels = torch.zeros(1, 64, 96, dtype=torch.int32)
    labels[0, 10:30, 20:44] = 1
    images = torch.rand(1, 1, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.training_loss(images, labels, labels, nn.Identity()).dtype == torch.float32
        assert network.eval().predict_maps(images).dtype == torch.float32
    assert seen[0] == seen[1] == ((1, 1, 64, 96), [24, 12, 6, 3, 2])


def test_no_batch_of_two_images_changes_a_batch_normalisation():
    networks = (
        MaskRCNN("resnet18", None, 2, "group"),
        MaskRCNN("tf_efficientnet_lite0", "imagenet", 2, "frozen"),
    )
    kinds = [{type(m) for m in network.modules()} for network in networks]
    assert GroupNorm in kinds[0] and FrozenBatchNormAct2d in kinds[1]
    assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds[0] | kinds[1])


def test_labels_become_boxes_and_masks_but_for_lines():
    labels = torch.tensor([[1, 1, 0, 7], [1, 1, 0, 7], [0, 0, 0, 7]], dtype=torch.int32)
    objects = objects_of(labels)
    assert objects["boxes"].tolist() == [[0, 0, 1, 1]] and objects["labels"].tolist() == [1]
    assert objects["masks"].tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]]
    assert objects_of(torch.zeros(3, 4, dtype=torch.int32))["boxes"].shape == (0, 4)


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="nucleus and border, got 3 channels"):
        MaskRCNN("resnet18", None, 3, "group")
