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
from nuclei.training.module import Segmentation, class_confusion, learning_rate_factor


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
    mean = segmentation.held_out_scores([BATCH, (BATCH[0] // 2, *BATCH[1:])]).loss
    assert mean == pytest.approx(np.mean(losses)) and segmentation.training and network.training


def test_a_network_with_its_own_loss_has_none_on_held_out_images():
    segmentation = module(Objects())
    assert segmentation.batch_loss(BATCH) == 3 and math.isnan(segmentation.held_out_scores([BATCH]).loss)


def test_accuracy_and_iou_of_pixels_are_those_counted_by_hand():
    network = Layer()
    nn.init.constant_(network.body[0].weight, 10.0)
    nn.init.constant_(network.body[0].bias, -5.0)  # nucleus where the image is brighter than one half
    image = torch.zeros(1, 1, 2, 4, dtype=torch.uint8)
    image[..., :2] = 255  # predicted: the left half, 4 pixels
    truth = torch.zeros(1, 1, 2, 4)
    truth[..., 0, :3] = 1  # true: 3 pixels of the upper line, 2 of them predicted
    scores = module(network).held_out_scores([(image, truth, truth[:, 0].int())])
    assert scores.accuracy == pytest.approx(5 / 8) and scores.iou == pytest.approx(2 / 5)


def test_classes_are_counted_by_the_likeliest_channel():
    truth = torch.eye(3)[[0, 1, 1, 2]].T.reshape(1, 3, 2, 2)
    maps = torch.eye(3)[[0, 1, 2, 2]].T.reshape(1, 3, 2, 2) * 0.5
    assert class_confusion(truth, maps, "softmax").tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
