"""The parts that the networks of the papers are made of."""

from __future__ import annotations

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
