"""Losses of logits against target maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nuclei.errors import UserError
from nuclei.models.base import Activation


class MapLoss(nn.Module):
    """Base class of losses, scalars of ``(B, C, H, W)`` logits and targets in [0, 1].

    Attributes:
        activation: of the networks that the loss is for.
        extra_channels: names of targets that the loss needs behind those of the network's channels.
    """

    activation: ClassVar[Activation] = "sigmoid"
    extra_channels: ClassVar[tuple[str, ...]] = ()


class BceDice(MapLoss):
    """Binary cross-entropy plus soft dice (Milletari et al. 2016, V-Net), weighted by channel.

    Args:
        bce: weight of each channel's cross-entropy; soft targets are allowed.
        dice: weight of each channel's dice loss, over the whole batch.

    Raises:
        UserError: when called, if there are not as many weights as channels.
    """

    def __init__(self, bce: Sequence[float], dice: Sequence[float]) -> None:
        super().__init__()
        self.bce: torch.Tensor
        self.dice: torch.Tensor
        self.register_buffer("bce", torch.tensor(list(bce)), persistent=False)
        self.register_buffer("dice", torch.tensor(list(dice)), persistent=False)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not len(self.bce) == len(self.dice) == logits.shape[1]:
            given = f"{len(self.bce)} and {len(self.dice)}"
            raise UserError(
                f"loss.bce and loss.dice: expected {logits.shape[1]} weights, one for each channel of "
                f"the model, got {given}; give as many, or choose loss=bce"
            )
        logits = logits.float()
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((0, 2, 3))
        return (self.bce * bce + self.dice * soft_dice_loss(logits.sigmoid(), target)).sum()


def soft_dice_loss(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft dice coefficient of each channel over the batch, ``(C,)``."""
    both = (p * target).sum((0, 2, 3))
    return 1 - (2 * both + 1) / (p.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)


class BceLogDice(MapLoss):
    """Binary cross-entropy minus the logarithm of the dice coefficient (Arra et al. 2018, section 3.2)."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        dice = 1 - soft_dice_loss(logits.sigmoid(), target)
        return F.binary_cross_entropy_with_logits(logits, target) - dice.log().mean()


class Bce(MapLoss):
    """Binary cross-entropy, the mean over pixels and channels."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), target)


class WeightedBce(MapLoss):
    """Binary cross-entropy with the original U-Net's weight map (``nuclei.data.targets.border_weights``).

    The last of the C + 1 targets are weights.
    """

    extra_channels: ClassVar[tuple[str, ...]] = ("weight",)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target, weight = target[:, :-1], target[:, -1:]
        return F.binary_cross_entropy_with_logits(logits.float(), target, weight.expand_as(target))


class CrossEntropy(MapLoss):
    """Softmax cross-entropy of exclusive channels: one of the targets is 1 at each pixel."""

    activation: ClassVar[Activation] = "softmax"

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.float(), target)


class SoftIou(MapLoss):
    """One minus the soft intersection over union (Wang 2021, figure 7), the mean over channels."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = logits.float().sigmoid()
        both = (p * target).sum((0, 2, 3))
        return (1 - (both + 1) / ((p + target).sum((0, 2, 3)) - both + 1)).mean()
