"""The base class of all networks, and parts of several: convolutions, weights, float32 on a CPU."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError

Activation = Literal["sigmoid", "softmax"]
Initialisation = Literal["glorot", "he"]


class SegmentationNetwork(nn.Module):
    """A network that turns images ``float32 (B, C, H, W)`` in [0, 1] into logits ``(B, n_channels, H, W)``.

    A network whose maps or loss come about otherwise overrides ``predict_maps`` and ``training_loss``. All
    take ``n_channels``, the number of maps; those of the papers also ``initialisation``, see ``initialise``.

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


def convolutions(
    in_channels: int, features: int, count: int, norm: bool = False, dropout: float = 0.0, kernel: int = 3
) -> nn.Sequential:
    """Return a stack of same-padded convolutions, each followed by batch normalisation, if wanted, and ReLU.

    Dropout stands behind the last one, and drops single values, not whole channels. The kernel's side is odd.
    A count of 0 passes the input on.
    """
    layers: list[nn.Module] = []
    for n in range(count):
        inputs = features if n else in_channels
        layers.append(nn.Conv2d(inputs, features, kernel, padding=kernel // 2, bias=not norm))
        layers += [nn.BatchNorm2d(features)] if norm else []
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw new weights for all convolutions of a network and set their biases to zero.

    PyTorch's default weights are so small that the output of a deep network without normalisation hardly
    depends on its input, and training stands still at first.

    ``glorot``, uniform (Glorot and Bengio 2010), is the default of Keras; ``he``, normal (He et al. 2015),
    keeps the variance through layers with ReLU.

    Raises:
        ValueError: another initialisation.
    """
    if initialisation not in ("glorot", "he"):
        raise ValueError(f"initialisation={initialisation}: expected glorot or he")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if initialisation == "glorot":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Float32OnCpu(nn.Module):
    """A mix-in for layers that train in float32 on a CPU, also under autocast to bfloat16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the layer returns."""
        if x.device.type != "cpu" or not self.training:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network train in float32 on a CPU.

    Their gradients take three times as long in bfloat16 there (oneDNN, AVX-512 BF16), where all other layers
    gain. As in ``torch.nn.utils.parametrize``, the layers change their class, so that the names of their
    weights stay as they are.
    """
    classes: dict[type, type] = {}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            kind = type(layer)
            if kind not in classes:
                classes[kind] = type(f"Float32OnCpu{kind.__name__}", (Float32OnCpu, kind), {})
            layer.__class__ = classes[kind]
