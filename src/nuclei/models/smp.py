"""Any segmentation-models-pytorch architecture with any of its or timm's encoders."""

from __future__ import annotations

from typing import Any

from torch import nn

from nuclei.data.intensity import planes
from nuclei.errors import UserError
from nuclei.models.contract import Look, describe, no_weights


def build(
    arch: str,
    encoder: str,
    encoder_weights: str | None,
    n_channels: int,
    look: Look = "nuclei",
    **options: Any,
) -> nn.Module:
    """A network from images to ``n_channels`` logits, at full resolution.

    Args:
        arch: name of the class in segmentation-models-pytorch: ``Unet``, ``Linknet`` …
        encoder: ``resnet18`` …, or ``tu-NAME`` for timm's.
        encoder_weights: ``imagenet`` …, or None to train from scratch.
        n_channels: number of maps.
        look: how images are shown; ``rgb`` and ``nuclei_rgb`` take three channels.
        **options: more of the architecture's arguments, such as ``encoder_depth`` and ``decoder_channels``.

    Raises:
        UserError: an unknown name or option, or weights that cannot be fetched.
    """
    import segmentation_models_pytorch as smp

    try:
        network = smp.create_model(
            arch,
            encoder_name=encoder,
            encoder_weights=encoder_weights,
            in_channels=planes(look),
            classes=n_channels,
            **options,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        raise UserError(f"model.network.arch={arch} encoder={encoder}: {str(e).splitlines()[0]}") from e
    except OSError as e:
        raise no_weights(f"{encoder_weights} of {encoder}", "model.network.encoder_weights", e) from e
    return describe(network, 2 ** options.get("encoder_depth", 5), look)
