"""The zoom that brings nuclei to one size."""

import cv2
import numpy as np
import pytest
import torch

from nuclei.data.targets import CHANNELS, targets
from nuclei.inference.rescale import estimate_zoom, mean_diameter
from nuclei.inference.segmenter import WeightedNetwork
from nuclei.models.base import SegmentationNetwork


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
    assert network.sizes == [(768, 768), (1536, 1536)]
