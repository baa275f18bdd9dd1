"""The model file: one safetensors file that holds a network's weights and all that its use needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
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
        network: config that builds the network: ``_target_`` and its arguments.
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
    settings = json.dumps(asdict(model.settings), sort_keys=True)
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save(half, {"nuclei": settings}))


def read_model_file(path: Path) -> ModelFile:
    """Read what ``write_model_file`` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds no settings or other ones.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}; ./run.sh export makes them from a run trained with fold=all")
    try:
        with safe_open(path, "pt") as f:
            settings = json.loads((f.metadata() or {}).get("nuclei", "{}"))
            weights = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as e:
        raise UserError(f"{path} is damaged ({e}); get it again") from e
    if settings.keys() != {field.name for field in fields(ModelSettings)}:
        raise UserError(f"{path} holds weights alone; expected a file that ./run.sh export wrote")
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    return ModelFile(ModelSettings(**settings), weights)
