"""Images of any size through a network, and back at their own size; tiles give what the whole image gives."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from nuclei.inference import predict_maps
from nuclei.inference.predict_maps import VIEWS, pad, predict, predict_tiles, resize_maps, windows, write_maps
from nuclei.models.base import SegmentationNetwork
from nuclei.models.smp import SmpNetwork


class Brightness(SegmentationNetwork):
    """Logit of the pixel's own value: its maps are the image."""

    def __init__(self, size=None):
        super().__init__(32, "plain", size)

    def forward(self, x):
        assert x.shape[-2] % 32 == 0 and x.shape[-1] % 32 == 0
        return torch.logit(x, 1e-6)


class Slope(Brightness):
    """Depends on where a pixel lies, so that views differ."""

    def forward(self, x):
        return torch.logit(x, 1e-6) + torch.linspace(-1, 1, x.shape[-1])


IMAGE = np.random.default_rng(0).integers(5, 250, (19, 61), dtype=np.uint8)


@pytest.mark.parametrize("tta", range(1, 9))
def test_every_view_is_turned_back(tta):
    maps = predict(Brightness(), IMAGE, VIEWS[:tta])
    assert maps.dtype == np.uint8 and maps.shape == (1, 19, 61)
    assert np.array_equal(maps[0], IMAGE)


def test_eight_views_are_the_dihedral_group():
    a = np.arange(6).reshape(2, 3)
    seen = set()
    for rows, columns, transpose in VIEWS:
        b = a.T if transpose else a
        b = b[::-1] if rows else b
        b = b[:, ::-1] if columns else b
        seen.add((b.shape, b.tobytes()))
    assert len(seen) == 8


def test_views_cancel_what_depends_on_the_side():
    one, two = (predict(Slope(), IMAGE, VIEWS[:tta])[0].astype(int) for tta in (1, 2))
    assert abs(two - IMAGE).mean() < abs(one - IMAGE).mean()


@pytest.mark.parametrize("shape", [(1, 1), (32, 64), (519, 161)])
def test_padding_mirrors_up_to_the_stride(shape):
    a = np.arange(shape[0] * shape[1]).reshape(shape)
    b = pad(a, 32)
    assert b.shape[0] % 32 == b.shape[1] % 32 == 0
    assert np.array_equal(b[: shape[0], : shape[1]], a)


def test_maps_file(tmp_path):
    write_maps(tmp_path / "oof.npz", ["nucleus"], "abc", "def", [("x", np.ones((1, 2, 3), np.uint8))])
    with np.load(tmp_path / "oof.npz") as f:
        assert set(f) == {"channels", "folds_sha256", "store_sha256", "x"}
        assert f["channels"].tolist() == ["nucleus"]
        assert (str(f["folds_sha256"]), str(f["store_sha256"])) == ("abc", "def")
        assert f["x"].shape == (1, 2, 3) and f["x"].dtype == np.uint8


def test_a_network_with_a_size_sees_a_square_and_its_maps_come_back():
    image = np.zeros((64, 96), np.uint8)
    image[16:48, 24:72] = 200
    maps = predict(Brightness(size=32), image)
    assert maps.shape == (1, 64, 96) and np.abs(maps[0].astype(int) - image)[::8, ::8].max() <= 110
    assert maps[0, 32, 48] == 200 and maps[0, 0, 0] == 0
    assert resize_maps(maps, (5, 7)).shape == (1, 5, 7)


SHAPE = (150, 203)
WIDE_IMAGE = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)


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
    assert np.array_equal(predict_tiles(predict, WIDE_IMAGE, 4, tile=40, context=8), predict(WIDE_IMAGE))
    assert not np.array_equal(predict_tiles(predict, WIDE_IMAGE, 4, tile=40, context=0), predict(WIDE_IMAGE))


def test_a_network_that_sees_far_differs_little():
    torch.manual_seed(0)
    network = SmpNetwork("Linknet", "resnet18", None, 2).eval()
    image = np.random.default_rng(2).integers(0, 256, (256, 384), dtype=np.uint8)
    predict = partial(predict_maps.predict_whole, network)
    apart = np.abs(predict_tiles(predict, image, 32, tile=128, context=128).astype(int) - predict(image))
    assert apart.mean() < 1 and np.percentile(apart, 99) <= 3


def test_only_images_above_the_limit_are_cut(monkeypatch):
    cut = []
    monkeypatch.setattr(predict_maps, "LIMIT", WIDE_IMAGE.size)
    monkeypatch.setattr(
        predict_maps, "predict_tiles", lambda *a: cut.append(a) or np.zeros((2, *SHAPE), np.uint8)
    )
    predict_maps.predict(Blur(), WIDE_IMAGE)
    assert not cut
    monkeypatch.setattr(predict_maps, "LIMIT", WIDE_IMAGE.size - 1)
    predict_maps.predict(Blur(), WIDE_IMAGE)
    assert len(cut) == 1
