"""Networks of the model configs, small enough for a test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from nuclei.config import compose_config
from nuclei.models.base import SegmentationNetwork

# Fewer layers and channels where a paper's network takes gigabytes; the code is the same.
SMALLER = {
    "barge2019_segnet": {"width": 0.1},
    "barge2019_unet": {"features": [4, 8, 16, 32, 64]},
    "zhao2020_unet1": {"features": [4, 8, 16, 32, 64]},
    "zhao2020_unet1_classes": {"features": [4, 8, 16, 32, 64]},
    "wang2021_resnet": {"backbone": "resnet50"},
    "mask_rcnn": {"backbone": "resnet18"},
}

Build = Callable[..., tuple[SegmentationNetwork, list[str]]]


@pytest.fixture(scope="session")
def build() -> Build:
    """Return what builds the network of a model config, seeded, and names its channels."""

    def build(name: str, **arguments: Any) -> tuple[SegmentationNetwork, list[str]]:
        torch.manual_seed(0)
        classes = "data.class_channels=[background,class_a,class_b]"
        cfg = compose_config("train", [f"model={name}", "data=dsb2018", classes]).model
        assert cfg.name == name and {"nucleus", "background"} & set(cfg.channels)
        channels = list(cfg.channels)
        arguments = SMALLER.get(name, {}) | arguments
        return instantiate(cfg.network, n_channels=len(channels), **arguments), channels

    return build
