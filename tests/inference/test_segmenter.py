"""Several networks on one image, and the weights they are read from."""

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from nuclei.data.targets import CHANNELS, targets
from nuclei.errors import UserError
from nuclei.inference.segmenter import Segmenter, WeightedNetwork, estimate_zoom, load_weights, mean_diameter
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


def discs(diameter, side=160):
    """Touching pairs of discs."""
    labels = np.zeros((side, side), np.int32)
    for n, (y, x) in enumerate([(40, 40), (40, 40 + diameter), (110, 80), (110, 80 + diameter)], 1):
        disc = np.zeros(labels.shape, np.uint8)
        cv2.circle(disc, (x, y), diameter // 2, 1, -1)
        labels[(disc > 0) & (labels == 0)] = n
    return labels


@pytest.mark.parametrize("diameter", [12, 20, 32])
def test_touching_nuclei_are_counted_one_by_one(diameter):
    maps = (targets(discs(diameter)) * 255).astype(np.uint8)
    assert mean_diameter(dict(zip(CHANNELS, maps, strict=True))) == pytest.approx(diameter, rel=0.15)


def test_no_nuclei_no_diameter():
    assert mean_diameter({name: np.zeros((9, 9), np.uint8) for name in CHANNELS}) == 0


class Seen(SegmentationNetwork):
    """Answers with the true maps of its input, and notes the size of it."""

    def __init__(self):
        super().__init__(1, "plain")
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        _, labels = cv2.connectedComponents((x[0, 0].numpy() > 0.5).astype(np.uint8))
        return torch.logit(torch.from_numpy(targets(labels.astype(np.int32)))[None], 1e-6)


@pytest.mark.parametrize(("diameter", "side"), [(13, 320), (52, 80), (200, 56), (9, 320)])
def test_images_are_zoomed_within_limits_and_maps_come_back_at_their_size(diameter, side):
    image = np.zeros((160, 160), np.uint8)
    cv2.circle(image, (80, 80), diameter // 2, 255, -1)
    network = Seen()
    maps = WeightedNetwork(network, CHANNELS, diameter=26.0).maps(image)
    assert maps.shape == (3, 160, 160) and maps.dtype == np.uint8
    assert network.sizes[:-1] == ([(80, 80)] if diameter > 36 else [(80, 80), (160, 160)])
    assert network.sizes[-1][0] == pytest.approx(side, abs=16)
    if diameter < 160:
        assert ((maps[0] > 127) == (image > 0)).mean() > 0.98


@pytest.mark.parametrize("diameter", [20, 26, 34])
def test_an_image_whose_nuclei_nearly_have_that_size_is_seen_twice(diameter):
    image = np.zeros((160, 160), np.uint8)
    cv2.circle(image, (80, 80), diameter // 2, 255, -1)
    network = Seen()
    maps, zoom = WeightedNetwork(network, CHANNELS, diameter=26.0).predict(image)
    assert network.sizes == [(80, 80), (160, 160)] and zoom == 1
    assert ((maps[0] > 127) == (image > 0)).mean() > 0.98


def test_several_views_see_nuclei_at_the_very_size():
    image = np.zeros((160, 160), np.uint8)
    cv2.circle(image, (80, 80), 10, 255, -1)
    network = Seen()
    _, zoom = WeightedNetwork(network, CHANNELS, 1.0, 2, 26.0).predict(image)
    assert zoom == pytest.approx(1.25, abs=0.05) and len(network.sizes) == 4


def test_views_take_the_scales_in_turn():
    image = np.zeros((160, 160), np.uint8)
    cv2.circle(image, (80, 80), 13, 255, -1)
    network = Seen()
    maps = WeightedNetwork(network, CHANNELS, 1.0, 3, 26.0, [1.0, 1.25]).maps(image)
    small, large = network.sizes[2][0], network.sizes[4][0]
    assert network.sizes[2:] == [(small, small)] * 2 + [(large, large)]
    assert large == pytest.approx(1.25 * small, abs=1)
    assert ((maps[0] > 127) == (image > 0)).mean() > 0.98


class Shortsighted(Seen):
    """Sees of large discs only a spot, unless they come at half their size."""

    def forward(self, x):
        full = x.shape[-1] > 100
        maps = super().forward(x)
        return torch.where(x > 0.95, maps, torch.full_like(maps, -9.0)) if full else maps


def test_nuclei_too_large_to_be_seen_are_found_at_half_the_size():
    image = np.zeros((160, 160), np.uint8)
    cv2.circle(image, (80, 80), 60, 200, -1)
    cv2.circle(image, (80, 80), 4, 255, -1)
    network = Shortsighted()
    maps = WeightedNetwork(network, CHANNELS, diameter=26.0).maps(image)
    assert network.sizes == [(80, 80), (56, 56)]  # the least zoom
    assert ((maps[0] > 127) == (image > 0)).mean() > 0.95


def test_nothing_is_zoomed_when_not_asked_or_without_a_distance_map():
    image = np.zeros((32, 32), np.uint8)
    for channels, diameter in ((CHANNELS, None), (("a", "b", "c"), 26.0)):
        network = Seen()
        WeightedNetwork(network, channels, diameter=diameter).maps(image)
        assert network.sizes == [(32, 32)]


def test_of_a_large_image_four_windows_are_measured():
    image = np.zeros((2400, 1700), np.uint8)
    cv2.circle(image, (300, 2000), 6, 255, -1)
    network = Seen()
    zoom, own_maps = estimate_zoom(network, image, CHANNELS, 26.0)
    assert zoom == pytest.approx(2.0, abs=0.1) and own_maps is None
    assert network.sizes == [(512, 512), (1024, 1024)]
