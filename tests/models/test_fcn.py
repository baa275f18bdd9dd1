"""The plain convolutional networks."""

import torch
from torch import nn

from nuclei.models.fcn import Fcn, SimpleCnn


def test_three_poolings_and_the_way_back_by_interpolation():
    network = Fcn([16, 32, 64], 1)
    kinds = [type(layer) for layer in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.MaxPool2d), network.stride) == (4, 3, 8)
    x = torch.rand(1, 1, 128, 128)
    assert network.body(x).shape == (1, 1, 16, 16) and network(x).shape == x.shape


def test_the_simple_network_keeps_full_resolution():
    network = SimpleCnn([8, 8, 16, 16, 32, 32], 1, preprocessing="rgb")
    assert [type(layer) for layer in network.modules()].count(nn.Conv2d) == 7
    assert network(torch.rand(1, 3, 9, 7)).shape == (1, 1, 9, 7)
