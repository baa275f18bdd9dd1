"""The model file: one safetensors file that holds a network's weights and all that its use needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from nuclei.atomic import atomic_write
from nuclei.errors import UserError


@dataclass(frozen=True)
class ModelSettings:
    """How to build a network and to use its maps.

    Attributes:
        network: the class of the network by ``_target_``, and its arguments, plain data.
        channels: names of its maps.
        steps: configs of the post-processing steps.
        tta, diameter, scales: see ``nuclei.inference.segmenter.WeightedNetwork``.
    """

    network: Mapping[str, Any]
    channels: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    tta: int
    diameter: float | None
    scales: Sequence[float]


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file: the settings, and the weights by name in float32."""

    settings: ModelSettings
    weights: Mapping[str, torch.Tensor]


def write_model_file(path: Path, model: ModelFile) -> None:
    """Write a model file, whole, with weights in half precision; the same input gives the same bytes."""
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.weights.items()}
    settings = asdict(model.settings)
    content = json.dumps({"settings": settings, "sha256": _sha256(settings, half)}, sort_keys=True)
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save(half, {"nuclei": content}))


def _sha256(settings: object, weights: Mapping[str, torch.Tensor]) -> str:
    """Return the hash of the settings and of each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_model_file(path: Path) -> ModelFile:
    """Read what ``write_model_file`` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds no settings or other ones.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}; ./run.sh export makes them from a run trained with fold=all")
    try:
        with safe_open(path, "pt") as f:
            content = json.loads((f.metadata() or {}).get("nuclei", "{}"))
            weights = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path} is damaged ({e}); get it again") from e
    if not isinstance(content, dict) or content.keys() != {"settings", "sha256"}:
        raise UserError(f"{path} holds weights alone; expected a file that ./run.sh export wrote")
    if content["sha256"] != _sha256(content["settings"], weights):
        raise UserError(f"{path} is damaged (its sha256 differs from the one it holds); get it again")
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    return ModelFile(_settings(path, content["settings"]), weights)


def _settings(path: Path, tree: Any) -> ModelSettings:
    """Return the settings, if their types are right."""
    try:
        made = ModelSettings(**tree)
        scales = [*made.scales] if made.diameter is None else [made.diameter, *made.scales]
    except TypeError as e:
        raise UserError(f"{path} has other settings ({e}); expected a file that ./run.sh export wrote") from e
    right = (
        isinstance(made.network, dict)
        and isinstance(made.channels, list)
        and isinstance(made.steps, list)
        and all(isinstance(name, str) for name in made.channels)
        and all(isinstance(step, dict) for step in made.steps)
        and isinstance(made.tta, int)
        and all(isinstance(scale, int | float) and scale > 0 for scale in scales)
    )
    if not right:
        raise UserError(f"{path} has settings of other types; expected a file that ./run.sh export wrote")
    return made
