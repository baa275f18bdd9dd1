"""Networks of segmentation-models-pytorch."""

import pytest

from nuclei.errors import UserError
from nuclei.models.smp import SmpNetwork


def test_number_of_weights(build):
    network, _ = build("compact")
    assert sum(p.numel() for p in network.parameters()) == 2_908_515


def test_unknown_names_are_one_line():
    with pytest.raises(UserError, match="arch=Unett"):
        SmpNetwork("Unett", "resnet18", None, 3)
    with pytest.raises(UserError, match="encoder=resnet1888"):
        SmpNetwork("Unet", "resnet1888", None, 3)


@pytest.mark.parametrize("encoder", ["tu-hf-hub:somebody/model", "tu-local-dir:/tmp/model", "a/b"])
def test_an_encoder_is_a_name_and_no_address(encoder):
    with pytest.raises(UserError, match="expected the name of an encoder"):
        SmpNetwork("Unet", encoder, None, 3)


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained", "pretrained_cfg_overlay"])
def test_no_option_names_another_file(name):
    with pytest.raises(UserError, match=f"model.network.{name}: expected options of the decoder"):
        SmpNetwork("Unet", "tu-resnet18", None, 3, **{name: "x"})
