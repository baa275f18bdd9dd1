"""Several networks on one image, and the weights they are read from."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter, WeightedNetwork, load_weights
from nuclei.models.base import SegmentationNetwork
from nuclei.postprocess.components import Components
from nuclei.postprocess.second_stage import Selection

IMAGE = np.random.default_rng(0).integers(5, 250, (19, 61), dtype=np.uint8)
STEPS = [Components(0.5, 0.5)]


class Brightness(SegmentationNetwork):
    """Logit of the pixel's own value: its maps are the image."""

    def __init__(self):
        super().__init__(1, "plain")

    def forward(self, x):
        return torch.logit(x, 1e-6)


class Two(Brightness):
    """An empty map before that of the brightness."""

    def forward(self, x):
        return torch.cat([torch.full_like(x, -20), super().forward(x)], 1)


def test_the_mean_is_weighted_and_by_channel_name():
    networks = [
        WeightedNetwork(Brightness(), ["nucleus"], 0.25),
        WeightedNetwork(Two(), ["border", "nucleus"], 0.75),
    ]
    assert np.array_equal(Segmenter(networks, ["nucleus"], STEPS).maps(IMAGE)[0], IMAGE)
    half = [WeightedNetwork(Two(), ["border", "nucleus"], 0.5)]
    maps = Segmenter(half, ["border", "nucleus"], STEPS).maps(IMAGE)
    assert not maps[0].any() and np.abs(maps[1] - IMAGE / 2).max() <= 0.5


class Scaled(Brightness):
    """Brightness after batch normalisation."""

    def __init__(self, mean=0.0, preprocessing="plain"):
        super().__init__()
        self.preprocessing, self.norm = preprocessing, nn.BatchNorm2d(1)
        nn.init.constant_(self.norm.running_mean, mean)


def test_the_fingerprint_changes_with_all_that_changes_results():
    def fingerprint(step=STEPS[0], tta=1, **network):
        members = [WeightedNetwork(Scaled(**network), ["nucleus"], tta=tta)]
        return Segmenter(members, ["nucleus"], [step]).fingerprint()

    plain = fingerprint()
    assert plain == fingerprint()
    others = [
        fingerprint(mean=0.5),
        fingerprint(preprocessing="grey"),
        fingerprint(tta=2),
        fingerprint(Components(0.5, 0.6)),
        fingerprint(Selection(trees="some")),
        fingerprint(Selection(trees="others")),
    ]
    assert len({plain, *others}) == 7


def test_labels_are_those_of_the_post_processing():
    image = np.array([[0, 200, 0, 200, 200]], np.uint8)
    segmenter = Segmenter([WeightedNetwork(Brightness(), ["nucleus"])], ["nucleus"], STEPS)
    assert segmenter.labels(segmenter.maps(image)).tolist() == [[0, 1, 0, 2, 2]]


class Layer(SegmentationNetwork):
    """One convolution."""

    def __init__(self, features=1):
        super().__init__(1)
        self.body = nn.Conv2d(1, features, 1)


def test_weights_come_whole_or_not_at_all(tmp_path):
    network = Layer()
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="no weights at"):
        load_weights(network, path)
    other = Layer()
    path.write_bytes(safetensors.torch.save(other.state_dict()))
    assert torch.equal(load_weights(network, path).body.weight, other.body.weight)
    assert not network.training
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="damaged or of another network"):
        load_weights(network, path)
    path.write_bytes(safetensors.torch.save(Layer(2).state_dict()))
    with pytest.raises(UserError, match="damaged or of another network"):
        load_weights(network, path)


def test_a_network_without_weights_needs_no_file(tmp_path):
    network = Brightness()
    assert load_weights(network, tmp_path / "none") is network
