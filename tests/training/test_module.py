"""The Lightning module's schedule and losses."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import nn

from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork
from nuclei.training.losses import Bce
from nuclei.training.module import Segmentation, learning_rate_factor


def test_schedule_rises_then_falls_to_nothing():
    factors = [learning_rate_factor("cosine", n, 100, 0.1) for n in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[9] == factors[10] == 1
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] < 0.001
    assert learning_rate_factor("cosine", 0, 1, 0.1) == 1


def test_a_constant_schedule_stays_and_another_one_is_refused():
    assert learning_rate_factor("constant", 99, 100, 0.1) == 1
    with pytest.raises(UserError, match="schedule=linear: expected cosine or constant"):
        learning_rate_factor("linear", 0, 10, 0.1)


class Layer(SegmentationNetwork):
    """One convolution and dropout, so that training and evaluation differ."""

    def __init__(self):
        super().__init__(1)
        self.body = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.9))

    def forward(self, x):
        return self.body(x)


class Objects(Layer):
    """A network with a loss of its own: the number of nuclei."""

    has_own_loss = True

    def training_loss(self, images, targets, labels, loss):
        return labels.amax().float()


def module(network):
    out = Segmentation(network, Bce(), torch.optim.SGD, "constant", 0.0, lambda maps: maps)
    out._trainer = SimpleNamespace(precision_plugin=Precision())
    return out


BATCH = (torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8), torch.ones(2, 1, 4, 4), torch.ones(2, 4, 4) * 3)


def test_the_loss_of_a_batch_is_that_of_images_between_0_and_1():
    network = Layer().eval()
    expected = Bce()(network(BATCH[0] / 255), BATCH[1])
    assert torch.equal(module(network).batch_loss(BATCH), expected)


def test_the_held_out_loss_is_a_mean_without_dropout_and_training_goes_on():
    network = Layer()
    segmentation = module(network)
    losses = [Bce()(network.body[0](x / 255), BATCH[1]).item() for x in (BATCH[0], BATCH[0] // 2)]
    mean = segmentation.mean_loss([BATCH, (BATCH[0] // 2, *BATCH[1:])])
    assert mean == pytest.approx(np.mean(losses)) and segmentation.training and network.training


def test_a_network_with_its_own_loss_has_none_on_held_out_images():
    segmentation = module(Objects())
    assert segmentation.batch_loss(BATCH) == 3 and math.isnan(segmentation.mean_loss([BATCH]))
