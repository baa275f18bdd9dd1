"""What every network says of itself, beside being a function from images to logits."""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError

Activation = Literal["sigmoid", "softmax"]
N = TypeVar("N", bound=nn.Module)


def describe(
    network: N,
    stride: int,
    preprocessing: Preprocessing = "nuclei",
    size: int | None = None,
    activation: Activation = "sigmoid",
) -> N:
    """Write on a network what its use needs, and return it.

    Args:
        network: takes ``float32 (B, C, H, W)`` in [0, 1]; gives logits ``(B, n_channels, H, W)``.
        stride: both sides of the input must be multiples of it.
        preprocessing: how images are shown to it; see ``nuclei.data.preprocessing.preprocess``.
        size: side that whole images are resized to, an experiment of two papers; None leaves them as they
            are.
        activation: ``softmax`` where exactly one channel is true at each pixel.
    """
    facts = {"stride": stride, "preprocessing": preprocessing, "size": size, "activation": activation}
    for name, value in facts.items():
        setattr(network, name, value)
    return network


def probabilities(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``float32 (B, n_channels, H, W)`` maps of a batch; a network of objects has its own ``maps``."""
    if hasattr(network, "maps"):
        return network.maps(x)  # type: ignore[operator, no-any-return]
    logits = network(x).float()
    return logits.softmax(1) if getattr(network, "activation", "sigmoid") == "softmax" else logits.sigmoid()


def check_crop(network: nn.Module, crop: int) -> None:
    """Refuse crops that a network cannot take.

    Raises:
        UserError: the side is no multiple of the network's stride.
    """
    stride = int(network.stride)  # type: ignore[arg-type]
    if crop < stride or crop % stride:
        raise UserError(f"augment.crop={crop}: expected a multiple of {stride}, the stride of the network")
