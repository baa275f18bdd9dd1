"""The contract of all networks, held against every model config; new ones are picked up by themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nuclei.data.preprocessing import in_channels
from nuclei.errors import UserError
from nuclei.inference.segmenter import WeightedNetwork
from nuclei.models.base import SegmentationNetwork
from nuclei.training.losses import Bce

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))
TRAINED = [name for name in NAMES if name != "otsu"]


def silent_parameters(network, images):
    """Names of the parameters that get no gradient, or one that is not finite."""
    labels = torch.zeros(len(images), *images.shape[-2:], dtype=torch.int32)
    labels[:, 8:40, 10:30], labels[:, 8:40, 30:50] = 1, 2
    with torch.no_grad():  # timm begins with zeros in the last layer of each block, which stop gradients
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    logits = images if network.has_own_loss else network(images)
    network.train().training_loss(images, torch.zeros_like(logits), labels, Bce()).backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return {n for n, g in gradients.items() if g is None or not g.isfinite().all() or not g.any()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(519, 161), (256, 320), (1, 1)])
def test_maps_of_any_size(build, name, shape):
    network, channels = build(name)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    maps = WeightedNetwork(network.eval(), channels).maps(image)
    assert maps.dtype == np.uint8 and maps.shape == (len(channels), *shape)
    if network.activation == "softmax":
        assert np.abs(maps.sum(0, dtype=int) - 255).max() <= len(channels)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_weight(build, name):
    network, _ = build(name)
    planes = in_channels(network.preprocessing)
    images = torch.rand(2, planes, 64, 64)
    images[0] = images[0, :1]  # grey: a network may have a first layer for it alone
    assert silent_parameters(network, images) == set()


class WithDeadLayer(SegmentationNetwork):
    """Its second layer does not reach the output."""

    def __init__(self):
        super().__init__(1)
        self.alive, self.dead = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.alive(x) + 0 * self.dead(x)


def test_a_dead_layer_is_noticed():
    assert silent_parameters(WithDeadLayer(), torch.rand(1, 1, 64, 64)) == {"dead.weight", "dead.bias"}


@pytest.mark.parametrize("name", TRAINED)
def test_crops_that_do_not_fit_are_refused(build, name):
    network, _ = build(name)
    network.check_crop(64)
    if network.stride > 1:
        with pytest.raises(UserError, match=rf"augment.crop=1: expected a multiple of {network.stride}"):
            network.check_crop(1)


class Identity(SegmentationNetwork):
    """Gives its input as logits."""

    def forward(self, x):
        return x


def test_maps_are_probabilities_by_the_activation():
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    assert torch.allclose(Identity(1).predict_maps(logits), logits.sigmoid())
    exclusive = Identity(1, activation="softmax").predict_maps(logits)
    assert torch.allclose(exclusive, logits.softmax(1)) and float(exclusive.sum()) == pytest.approx(1)


def test_the_training_loss_is_that_of_the_logits():
    x, target = torch.randn(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    labels = torch.ones(1, 4, 4, dtype=torch.int32)
    assert torch.equal(Identity(1).training_loss(x, target, labels, Bce()), Bce()(x, target))
