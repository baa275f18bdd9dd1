"""Whole images of any size through a network, and back at their own size."""

import numpy as np
import pytest
import torch

from nuclei.inference.predict_maps import VIEWS, pad, predict, resize_maps, write_maps
from nuclei.models.base import SegmentationNetwork


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
