"""Any segmentation-models-pytorch architecture with any of its or timm's encoders."""

from __future__ import annotations

import re
from typing import Any

import torch

from nuclei.data.preprocessing import Preprocessing
from nuclei.errors import UserError
from nuclei.models.base import SegmentationNetwork, keep_depthwise_in_float32
from nuclei.models.pretrained import (
    find_weights,
    load_in_order,
    no_weights,
    read_packaged_weights,
)

OPTIONS = ("decoder_", "encoder_depth", "encoder_output_stride", "upsampling")
"""How the names of an architecture's arguments begin that settings may give."""


class SmpNetwork(SegmentationNetwork):
    """A network of segmentation-models-pytorch behind the scaling of the input that its encoder expects.

    A single plane is repeated three times.

    Args:
        arch: name of the class in segmentation-models-pytorch: ``Unet``, ``Linknet`` …
        encoder: ``resnet18`` …, or ``tu-NAME`` for timm's.
        encoder_weights: ``imagenet`` …; None trains from scratch.
        **options: more of the architecture's arguments, such as ``encoder_depth`` and ``decoder_channels``.

    Raises:
        UserError: an unknown name or option, or weights that no source has.
    """

    def __init__(
        self,
        arch: str,
        encoder: str,
        encoder_weights: str | None,
        n_channels: int,
        preprocessing: Preprocessing = "nuclei",
        **options: Any,
    ) -> None:
        super().__init__(2 ** options.get("encoder_depth", 5), preprocessing)
        # A model file names these: nothing in them may lead to another file or to the network.
        if not re.fullmatch(r"[\w.+-]+", encoder):
            raise UserError(f"model.network.encoder={encoder}: expected the name of an encoder")
        if other := [name for name in options if not name.startswith(OPTIONS)]:
            raise UserError(f"model.network.{other[0]}: expected options of the decoder, or encoder_depth")
        import segmentation_models_pytorch as smp

        package, fetched = find_weights(encoder, encoder_weights)
        try:
            self.body = smp.create_model(
                arch,
                encoder_name=encoder,
                encoder_weights=True if fetched and encoder.startswith("tu-") else fetched,
                in_channels=3,
                classes=n_channels,
                **options,
            )
        except OSError as e:
            raise no_weights(encoder, encoder_weights, "model.encoder_weights", e) from e
        except (KeyError, TypeError, ValueError, RuntimeError) as e:
            raise UserError(f"model.arch={arch} encoder={encoder}: {str(e).splitlines()[0]}") from e
        scaling = {"mean": [0.0] * 3, "std": [1.0] * 3}
        if encoder_weights:
            scaling = smp.encoders.get_preprocessing_params(encoder, encoder_weights)
        if package:
            load_in_order(self.body.encoder.model, read_packaged_weights(package))
        keep_depthwise_in_float32(self.body)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(scaling["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(scaling["std"]).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, n_channels, H, W)`` of images ``(B, 1 or 3, H, W)`` in [0, 1]."""
        return self.body((x - self.mean) / self.std)
