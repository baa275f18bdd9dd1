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
