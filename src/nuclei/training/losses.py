"""Losses of maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class BceDice(nn.Module):
    """Binary cross-entropy plus soft dice (Milletari et al. 2016, V-Net), weighted by channel.

    Args:
        bce: weight of each channel's cross-entropy; soft targets are allowed.
        dice: weight of each channel's dice loss, over the whole batch.
    """

    def __init__(
        self, bce: Sequence[float] = (1.0, 1.0, 1.0), dice: Sequence[float] = (1.0, 0.5, 0.0)
    ) -> None:
        super().__init__()
        self.bce: torch.Tensor
        self.dice: torch.Tensor
        self.register_buffer("bce", torch.tensor(list(bce)), persistent=False)
        self.register_buffer("dice", torch.tensor(list(dice)), persistent=False)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of ``(B, C, H, W)`` logits and targets in [0, 1]."""
        logits = logits.float()
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((0, 2, 3))
        return (self.bce * bce + self.dice * soft_dice_loss(logits.sigmoid(), target)).sum()


def soft_dice_loss(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """``(C,)``: one minus the soft dice coefficient of each channel over the batch."""
    both = (p * target).sum((0, 2, 3))
    return 1 - (2 * both + 1) / (p.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
