"""SegNet and its unpooling."""

import torch
from torch import nn

from nuclei.models.segnet import unpool


def test_thirteen_convolutions_down_and_thirteen_up(build):
    network, _ = build("barge2019_segnet")
    kinds = [type(layer) for layer in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ConvTranspose2d)) == (26, 0)


def test_unpooling_is_torchs():
    x, at = torch.nn.functional.max_pool2d(torch.rand(2, 3, 8, 6), 2, return_indices=True)
    assert torch.equal(unpool(x, at), torch.nn.functional.max_unpool2d(x, at, 2))
