"""Tiles cover an image once, and give what the whole image gives."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from nuclei.inference import predict_maps
from nuclei.inference.predict_maps import predict_tiles, windows
from nuclei.models.base import SegmentationNetwork
from nuclei.models.smp import SmpNetwork

SHAPE = (150, 203)
IMAGE = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)


class Blur(SegmentationNetwork):
    """Sees 4 pixels to each side and pools, so that a tile out of step with the stride would show."""

    def __init__(self):
        super().__init__(4, "grey")
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return nn.functional.interpolate(nn.functional.max_pool2d(self.conv(x), 4), scale_factor=4)


@pytest.mark.parametrize(("stride", "tile", "context"), [(1, 7, 3), (4, 64, 8), (32, 33, 1), (4, 999, 8)])
def test_interiors_cover_the_image_once_and_begin_in_step(stride, tile, context):
    times = np.zeros(SHAPE, int)
    for outer, inner in windows(SHAPE, stride, tile, context):
        times[inner] += 1
        assert all(s.start % stride == 0 for s in (*outer, *inner))
        assert all(o.start <= i.start and i.stop <= o.stop for o, i in zip(outer, inner, strict=True))
    assert (times == 1).all()


@pytest.mark.parametrize("tta", [1, 8])
def test_tiles_equal_the_whole_where_the_context_holds_all_that_the_network_sees(tta):
    predict = partial(predict_maps.predict_whole, Blur(), views=predict_maps.VIEWS[:tta])
    assert np.array_equal(predict_tiles(predict, IMAGE, 4, tile=40, context=8), predict(IMAGE))
    assert not np.array_equal(predict_tiles(predict, IMAGE, 4, tile=40, context=0), predict(IMAGE))


def test_a_network_that_sees_far_differs_little():
    torch.manual_seed(0)
    network = SmpNetwork("Linknet", "resnet18", None, 2).eval()
    image = np.random.default_rng(2).integers(0, 256, (256, 384), dtype=np.uint8)
    predict = partial(predict_maps.predict_whole, network)
    apart = np.abs(predict_tiles(predict, image, 32, tile=128, context=128).astype(int) - predict(image))
    assert apart.mean() < 1 and np.percentile(apart, 99) <= 3


def test_only_images_above_the_limit_are_cut(monkeypatch):
    cut = []
    monkeypatch.setattr(predict_maps, "LIMIT", IMAGE.size)
    monkeypatch.setattr(
        predict_maps, "predict_tiles", lambda *a: cut.append(a) or np.zeros((2, *SHAPE), np.uint8)
    )
    predict_maps.predict(Blur(), IMAGE)
    assert not cut
    monkeypatch.setattr(predict_maps, "LIMIT", IMAGE.size - 1)
    predict_maps.predict(Blur(), IMAGE)
    assert len(cut) == 1
