"""The base class of all networks."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError

Activation = Literal["sigmoid", "softmax"]


class SegmentationNetwork(nn.Module):
    """A network that turns images ``float32 (B, C, H, W)`` in [0, 1] into logits ``(B, n_channels, H, W)``.

    A network whose maps or loss come about otherwise overrides ``predict_maps`` and ``training_loss``. All
    networks take ``n_channels``, the number of maps; those that are drawn from random numbers here take
    ``initialisation``, see ``nuclei.models.blocks.initialise``.

    Attributes:
        stride: both sides of the input must be multiples of this number of pixels.
        preprocessing: how images are shown to the network; see ``nuclei.data.preprocessing.preprocess``.
        size: side in pixels of the square that whole images are resized to; None keeps their size.
        activation: ``softmax`` where exactly one channel is true at each pixel.
        has_own_loss: True where ``training_loss`` ignores the given loss, and works in training mode alone.
    """

    has_own_loss: ClassVar[bool] = False

    def __init__(
        self,
        stride: int,
        preprocessing: Preprocessing = "nuclei",
        size: int | None = None,
        activation: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        self.stride, self.size = stride, size
        self.preprocessing: Preprocessing = preprocessing
        self.activation: Activation = activation

    def training_loss(
        self, images: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, loss: nn.Module
    ) -> torch.Tensor:
        """Return the scalar loss of a batch of images ``float32 (B, C, H, W)`` in [0, 1].

        Args:
            targets: ``float32 (B, n_channels, H, W)`` maps to learn, with the weights behind them for a loss
                that takes weights.
            labels: ``int32 (B, H, W)`` label maps, for networks that learn objects.
            loss: of logits and targets.
        """
        return loss(self(images), targets)

    def predict_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities ``float32 (B, n_channels, H, W)`` of images ``float32 (B, C, H, W)``."""
        logits = self(images).float()
        return logits.softmax(1) if self.activation == "softmax" else logits.sigmoid()

    def check_crop(self, crop: int) -> None:
        """Raise a ``UserError`` where the side of crops, in pixels, is no multiple of the stride."""
        if crop < self.stride or crop % self.stride:
            raise UserError(
                f"augment.crop={crop}: expected a multiple of {self.stride}, the stride of the network"
            )
