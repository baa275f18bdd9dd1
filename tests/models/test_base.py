"""The contract of all networks, held against every model config; new ones are picked up by themselves.

And the parts of several: stacks of convolutions, their first weights, float32 on a CPU.
"""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from nuclei.data.preprocessing import in_channels
from nuclei.errors import UserError
from nuclei.inference.segmenter import WeightedNetwork
from nuclei.models.base import SegmentationNetwork, convolutions, initialise, keep_depthwise_in_float32
from nuclei.training.losses import Bce, CrossEntropy

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


PLAIN = ["arra2018_fcn", "arra2018_unet", "barge2019_unet", "wang2021_cnn", "wang2021_unet"]
PLAIN += ["zhao2020_unet1", "zhao2020_unet1_classes"]


def test_layers_of_a_stack():
    kinds = [type(layer) for layer in convolutions(3, 8, 2, norm=True, dropout=0.5)]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [*block, *block, nn.Dropout]
    assert not len(convolutions(3, 8, 0))
    assert convolutions(3, 8, 1, kernel=5)(torch.rand(1, 3, 9, 7)).shape == (1, 8, 9, 7)


@pytest.mark.parametrize(("initialisation", "variance"), [("he", 2 / (64 * 9)), ("glorot", 2 / (192 * 9))])
def test_initialisation_has_the_variance_of_its_formula(initialisation, variance):
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 3)
    initialise(layer, initialisation)
    assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.05)
    assert not layer.bias.any()


def test_another_initialisation_is_refused():
    with pytest.raises(ValueError, match="expected glorot or he"):
        initialise(nn.Conv2d(1, 1, 1), "zeros")


def discs():
    """Four images of bright discs on a dark, noisy ground, and their masks."""
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 1, 64, 64), np.float32)
    for mask in masks:
        for y, x in rng.integers(8, 56, (3, 2)).tolist():
            cv2.circle(mask[0], (x, y), 7, 1, -1)
    images = 0.1 + 0.7 * masks + 0.05 * rng.random(masks.shape, np.float32)
    return torch.from_numpy(images), torch.from_numpy(masks)


@pytest.mark.parametrize("name", PLAIN)
def test_networks_without_normalisation_begin_with_contrast_and_learn(build, name):
    network, channels = build(name)
    images, masks = discs()
    images = images.expand(-1, in_channels(network.preprocessing), -1, -1)
    classes = torch.cat([1 - masks, masks, 0 * masks], 1)
    target, loss = (masks, Bce()) if len(channels) == 1 else (classes, CrossEntropy())
    with torch.no_grad():
        assert float(network(images).std((2, 3)).mean()) > 0.01
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(10):
        value = network.training_loss(images, target, masks[:, 0], loss)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0] - 0.01


def depthwise():
    """A depthwise convolution of torch, one of timm, and a pointwise one."""
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 4, 3, padding=1, groups=4), Conv2dSame(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1)
    return nn.Sequential(*layers)


def test_depthwise_convolutions_train_in_float32_and_predict_as_all_layers():
    network = depthwise()
    names = list(network.state_dict())
    keep_depthwise_in_float32(network)
    assert list(network.state_dict()) == names
    x = torch.rand(1, 4, 8, 8)
    for clone in (network, copy.deepcopy(network)):
        with torch.autocast("cpu", torch.bfloat16):
            assert [layer.train()(x).dtype for layer in clone] == [torch.float32] * 2 + [torch.bfloat16]
            assert {layer.eval()(x).dtype for layer in clone} == {torch.bfloat16}


def test_their_results_are_those_of_the_layers():
    network, x = depthwise(), torch.rand(1, 4, 8, 8)
    expected = network(x)
    keep_depthwise_in_float32(network)
    assert torch.equal(network(x), expected)
