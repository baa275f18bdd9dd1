"""The parts that the networks of the papers are made of."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn


def convolutions(
    before: int, features: int, count: int, norm: bool = False, dropout: float = 0.0, kernel: int = 3
) -> nn.Sequential:
    """``count`` same-padded convolutions, each with ReLU, and batch normalisation before it if asked for.

    Args:
        before: input channels.
        features: output channels.
        count: 0 passes the input on.
        norm: batch normalisation.
        dropout: probability behind the last one; whole channels are not dropped, single values are.
        kernel: side in pixels, odd.
    """
    layers: list[nn.Module] = []
    for n in range(count):
        layers.append(
            nn.Conv2d(before if n == 0 else features, features, kernel, padding=kernel // 2, bias=not norm)
        )
        layers += [nn.BatchNorm2d(features)] if norm else []
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class Float32OnCpu(nn.Module):
    """Mixed into a layer: it trains in float32 on a CPU, also under autocast to bfloat16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the layer returns."""
        if x.device.type != "cpu" or not self.training:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


@cache
def _in_float32(layer: Any) -> Any:
    return type(f"Float32OnCpu{layer.__name__}", (Float32OnCpu, layer), {})


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network train in float32 on a CPU.

    Their gradients take three times as long in bfloat16 there (oneDNN, AVX-512 BF16), where all other layers
    gain. Weights and names of the layers stay as they are.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            layer.__class__ = _in_float32(type(layer))  # type: ignore[arg-type]
