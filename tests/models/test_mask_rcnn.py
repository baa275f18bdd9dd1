"""Objects become maps, and label maps become objects."""

import pytest
import torch

from nuclei.errors import UserError
from nuclei.models.mask_rcnn import MaskRCNN, maps_of, objects_of


def test_objects_become_maps_that_keep_touching_ones_apart():
    masks = torch.zeros(2, 6, 9)
    masks[0, 1:5, 1:5], masks[1, 1:5, 5:8] = 0.9, 0.8
    nucleus, border = maps_of(masks, torch.tensor([1.0, 0.5]), torch.Size((6, 9)))
    assert nucleus[2, 2] == pytest.approx(0.9) and nucleus[2, 6] == pytest.approx(0.4) and nucleus[0, 0] == 0
    assert border[2].tolist() == [0, 1, 0, 0, 1, 0.5, 0, 0.5, 0]


def test_labels_become_boxes_and_masks_but_for_lines():
    labels = torch.tensor([[1, 1, 0, 7], [1, 1, 0, 7], [0, 0, 0, 7]], dtype=torch.int32)
    objects = objects_of(labels)
    assert objects["boxes"].tolist() == [[0, 0, 1, 1]] and objects["labels"].tolist() == [1]
    assert objects["masks"].tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]]
    assert objects_of(torch.zeros(3, 4, dtype=torch.int32))["boxes"].shape == (0, 4)


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="nucleus and border, got 3 channels"):
        MaskRCNN("resnet18", None, 3)
