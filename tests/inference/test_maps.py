"""Whole images of any size through a network, and back at their own size."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from nuclei.errors import UserError
from nuclei.inference.networks import Voter, average, load
from nuclei.inference.predict_maps import VIEWS, pad, predict, write_maps


class Brightness(nn.Module):
    """Logit of the pixel's own value: its maps are the image."""

    stride, preprocessing, size = 32, "grey", None

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
    write_maps(tmp_path / "oof.npz", ["nucleus"], "abc", [("x", np.ones((1, 2, 3), np.uint8))])
    with np.load(tmp_path / "oof.npz") as f:
        assert set(f) == {"channels", "folds_sha256", "x"}
        assert f["channels"].tolist() == ["nucleus"] and str(f["folds_sha256"]) == "abc"
        assert f["x"].shape == (1, 2, 3) and f["x"].dtype == np.uint8


def test_average_is_weighted_and_by_channel_name():
    class Two(Brightness):
        def forward(self, x):
            return torch.cat([torch.full_like(x, -20), torch.logit(x, 1e-6)], 1)

    voters = [Voter(Brightness(), ["nucleus"], 0.25, 1), Voter(Two(), ["border", "nucleus"], 0.75, 1)]
    assert np.array_equal(average(voters, ["nucleus"], IMAGE)[0], IMAGE)
    only = average([Voter(Two(), ["border", "nucleus"], 0.5, 1)], ["border", "nucleus"], IMAGE)
    assert not only[0].any() and np.abs(only[1] - IMAGE / 2).max() <= 0.5


def test_weights_come_whole_or_not_at_all(tmp_path):
    network = nn.Conv2d(1, 1, 1)
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="no weights at"):
        load(network, path)
    path.write_bytes(safetensors.torch.save(nn.Conv2d(1, 1, 1).state_dict()))
    load(network, path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="damaged or of another network"):
        load(network, path)
    path.write_bytes(safetensors.torch.save(nn.Conv2d(1, 2, 1).state_dict()))
    with pytest.raises(UserError, match="damaged or of another network"):
        load(network, path)
