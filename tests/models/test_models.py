"""Every model config gives maps of the image's size; this test picks up new ones by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nuclei.errors import UserError
from nuclei.inference.maps import predict
from nuclei.models.otsu import Otsu
from nuclei.models.smp import build

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("shape", [(19, 61), (64, 96)])
def test_contract(path, shape):
    cfg = OmegaConf.load(path)
    assert cfg.name == path.stem and "nucleus" in cfg.channels
    network = instantiate(cfg.network, n_channels=len(cfg.channels)).eval()
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    maps = predict(network, image)
    assert maps.dtype == np.uint8 and maps.shape == (len(cfg.channels), *shape)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "otsu"], ids=lambda p: p.stem)
def test_gradients_reach_every_weight(path):
    cfg = OmegaConf.load(path)
    network = instantiate(cfg.network, n_channels=len(cfg.channels))
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_otsu_parts_two_levels_and_survives_a_flat_image():
    image = np.full((8, 8), 40, np.uint8)
    image[2:5, 2:5] = 200
    assert np.array_equal(predict(Otsu(), image)[0] > 127, image > 100)
    assert not predict(Otsu(), np.full((8, 8), 40, np.uint8)).any()


def test_unknown_names_are_one_line():
    with pytest.raises(UserError, match="arch=Unett"):
        build("Unett", "resnet18", None, 3)
    with pytest.raises(UserError, match="encoder=resnet1888"):
        build("Unet", "resnet1888", None, 3)
