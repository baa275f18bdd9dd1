"""The dilated ResNet."""

import pytest
import torch

from nuclei.errors import UserError
from nuclei.models.resnet import ResNet


def test_features_have_an_eighth_of_the_resolution_and_grey_images_are_repeated(build):
    network, _ = build("wang2021_resnet")
    network.eval()
    x = torch.rand(1, 1, 64, 64)
    assert network.body.backbone(x.expand(-1, 3, -1, -1))["out"].shape[-2:] == (8, 8)
    assert torch.equal(network(x), network(x.expand(-1, 3, -1, -1)))


def test_an_unknown_backbone_is_named():
    with pytest.raises(UserError, match="backbone=resnet7: expected one of resnet50, resnet101"):
        ResNet("resnet7", None, 1)
