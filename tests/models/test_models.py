"""Every model config gives maps of the image's size; this test picks up new ones by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from nuclei.data.preprocessing import in_channels
from nuclei.errors import UserError
from nuclei.inference.predict_maps import predict
from nuclei.inference.segmenter import WeightedNetwork
from nuclei.models.mask_rcnn import maps_of
from nuclei.models.otsu import Otsu
from nuclei.models.segnet import unpool
from nuclei.models.smp import SmpNetwork
from nuclei.models.unet import Stems

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))
# Fewer layers and channels where a paper's network takes gigabytes; the code is the same.
SMALLER = {
    "barge2019_segnet": {"width": 0.1},
    "barge2019_unet": {"features": [4, 8, 16, 32, 64]},
    "zhao2020_unet1": {"features": [4, 8, 16, 32, 64]},
    "zhao2020_unet1_classes": {"features": [4, 8, 16, 32, 64]},
    "wang2021_resnet": {"backbone": "resnet50"},
    "mask_rcnn": {"backbone": "resnet18"},
}


def built(path, **more):
    """The network of a config, seeded, and its channels."""
    torch.manual_seed(0)
    data = {"class_channels": ["background", "class_a", "class_b"]}
    cfg = OmegaConf.create({"data": data, "model": OmegaConf.load(path)}).model
    assert cfg.name == path.stem and {"nucleus", "background"} & set(cfg.channels)
    return instantiate(
        cfg.network, n_channels=len(cfg.channels), **(SMALLER.get(path.stem, {}) | more)
    ), cfg.channels


def shown(network, *shape):
    """A batch of noise as the network wants it."""
    return torch.rand(shape[0], in_channels(network.preprocessing), *shape[1:])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("shape", [(519, 161), (256, 320), (1, 1)])
def test_maps_of_any_size(path, shape):
    network, channels = built(path)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    maps = WeightedNetwork(network.eval(), list(channels)).maps(image)
    assert maps.dtype == np.uint8 and maps.shape == (len(channels), *shape)
    if network.activation == "softmax":
        assert np.abs(maps.sum(0, dtype=int) - 255).max() <= len(channels)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "otsu"], ids=lambda p: p.stem)
def test_gradients_reach_every_weight(path):
    network, _ = built(path)
    x = shown(network, 2, 64, 64)
    if path.stem == "mask_rcnn":
        labels = torch.zeros(2, 64, 64, dtype=torch.int32)
        labels[:, 8:40, 10:30], labels[:, 8:40, 30:50] = 1, 2
        loss = network.train().training_loss(x, x, labels, nn.Identity())
    else:
        loss = network(x).square().mean()
    loss.backward()
    silent = {"stems.grey.weight", "stems.grey.bias"} if path.stem == "haigh2018_next" else set()
    assert {
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    } == set()
    still = {n for n, p in network.named_parameters() if not p.grad.any()}
    assert silent <= still if silent else True


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "otsu"], ids=lambda p: p.stem)
def test_crops_that_do_not_fit_are_refused(path):
    network, _ = built(path)
    network.check_crop(64)
    if network.stride > 1:
        with pytest.raises(UserError, match=rf"augment.crop=1: expected a multiple of {network.stride}"):
            network.check_crop(1)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("arra2018_unet", 217_393),  # "close to 2 lakh parameters"
        ("arra2018_linknet", 539_505),  # the text's filters allow no fewer
        ("wang2021_unet", 1_941_105),
        ("compact", 2_908_515),
    ],
)
def test_numbers_of_weights(name, weights):
    network, _ = built(next(p for p in CONFIGS if p.stem == name))
    assert sum(p.numel() for p in network.parameters()) == weights


@pytest.mark.parametrize(
    ("name", "convolutions", "transposed"),
    [
        ("wang2021_unet", 19, 4),
        ("zhao2020_unet1", 19, 4),
        ("barge2019_segnet", 26, 0),
        ("arra2018_fcn", 4, 0),
    ],
)
def test_numbers_of_convolutions(name, convolutions, transposed):
    network, _ = built(next(p for p in CONFIGS if p.stem == name))
    kinds = [type(m) for m in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ConvTranspose2d)) == (convolutions, transposed)


def test_a_quarter_of_the_channels():
    of = {p.stem: list(OmegaConf.load(p).network.features) for p in CONFIGS if p.stem.startswith("zhao2020")}
    for end in ("", "_classes"):
        assert [n // 4 for n in of[f"zhao2020_unet1{end}"]] == of[f"zhao2020_unet2{end}"]


def test_unpooling_is_torchs():
    x, at = torch.nn.functional.max_pool2d(torch.rand(2, 3, 8, 6), 2, return_indices=True)
    assert torch.equal(unpool(x, at), torch.nn.functional.max_unpool2d(x, at, 2))


def test_grey_and_coloured_images_take_their_own_stem():
    stems = Stems(4)
    grey, colour = torch.rand(1, 1, 8, 8).repeat(1, 3, 1, 1), torch.rand(1, 3, 8, 8)
    out = stems(torch.cat([grey, colour]))
    assert torch.allclose(out[:1], stems.grey(grey[:, :1]).relu(), atol=1e-5)
    assert torch.allclose(out[1:], stems.colour(colour).relu(), atol=1e-5)


def test_objects_become_maps_that_keep_touching_ones_apart():
    masks = torch.zeros(2, 6, 9)
    masks[0, 1:5, 1:5], masks[1, 1:5, 5:8] = 0.9, 0.8
    nucleus, border = maps_of(masks, torch.tensor([1.0, 0.5]), torch.Size((6, 9)))
    assert nucleus[2, 2] == pytest.approx(0.9) and nucleus[2, 6] == pytest.approx(0.4) and nucleus[0, 0] == 0
    assert border[2].tolist() == [0, 1, 0, 0, 1, 0.5, 0, 0.5, 0]


def test_otsu_parts_two_levels_and_survives_a_flat_image():
    image = np.full((8, 8), 40, np.uint8)
    image[2:5, 2:5] = 200
    assert np.array_equal(predict(Otsu(), image)[0] > 127, image > 100)
    assert not predict(Otsu(), np.full((8, 8), 40, np.uint8)).any()


def test_unknown_names_are_one_line():
    with pytest.raises(UserError, match="arch=Unett"):
        SmpNetwork("Unett", "resnet18", None, 3)
    with pytest.raises(UserError, match="encoder=resnet1888"):
        SmpNetwork("Unet", "resnet1888", None, 3)
