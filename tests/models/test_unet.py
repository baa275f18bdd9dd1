"""The papers' U-Nets."""

import pytest
import torch
from torch import nn

from nuclei.config import compose_config
from nuclei.models.unet import Stems, upsampling


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("arra2018_unet", 217_393),  # "close to 2 lakh parameters"
        ("wang2021_unet", 1_941_105),
    ],
)
def test_numbers_of_weights(build, name, weights):
    network, _ = build(name)
    assert sum(p.numel() for p in network.parameters()) == weights


@pytest.mark.parametrize("name", ["wang2021_unet", "zhao2020_unet1"])
def test_nineteen_convolutions_and_four_transposed_ones(build, name):
    network, _ = build(name)
    kinds = [type(layer) for layer in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ConvTranspose2d)) == (19, 4)


@pytest.mark.parametrize("end", ["", "_classes"])
def test_a_quarter_of_the_channels(end):
    first, second = (
        compose_config("train", [f"model=zhao2020_unet{n}{end}", "data=demo"]).model.network.features
        for n in (1, 2)
    )
    assert [n // 4 for n in first] == second


def test_grey_and_coloured_images_take_their_own_stem():
    stems = Stems(4)
    grey, colour = torch.rand(1, 1, 8, 8).repeat(1, 3, 1, 1), torch.rand(1, 3, 8, 8)
    out = stems(torch.cat([grey, colour]))
    assert torch.allclose(out[:1], stems.grey(grey[:, :1]).relu(), atol=1e-5)
    assert torch.allclose(out[1:], stems.colour(colour).relu(), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "kernel", "features"), [("transpose", 2, 5), ("transpose", 3, 5), ("bilinear", 2, 4)]
)
def test_upsampling_doubles_the_resolution(method, kernel, features):
    assert upsampling(4, 5, method, kernel)(torch.rand(1, 4, 6, 7)).shape == (1, features, 12, 14)


def test_another_upsampling_is_refused():
    with pytest.raises(ValueError, match="up=nearest: expected transpose or bilinear"):
        upsampling(4, 5, "nearest", 2)
