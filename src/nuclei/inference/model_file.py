"""The model in the box: one safetensors file that holds a network's weights and all that its use needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from nuclei.atomic import atomic_write
from nuclei.errors import UserError

KEYS = {"network", "channels", "steps", "tta", "diameter", "scales"}


def write_box(path: Path, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> None:
    """Write weights in half precision, whole; the same input gives the same bytes.

    Args:
        path: ``.safetensors``.
        tensors: the network's state.
        settings: ``KEYS``: how to build the network, the names of its maps, post-processing, and how images
            are seen (see ``nuclei.inference.networks.Voter``).
    """
    if settings.keys() != KEYS:
        raise ValueError(f"expected {sorted(KEYS)}, got {sorted(settings)}")
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in tensors.items()}
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save(half, {"nuclei": json.dumps(settings, sort_keys=True)}))


def read_box(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Settings and float32 weights of what ``write_box`` wrote.

    Raises:
        UserError: the file is missing, damaged, or holds no settings.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}; ./run.sh export makes them from a run trained with fold=all")
    try:
        with safe_open(path, "pt") as f:
            settings = json.loads((f.metadata() or {}).get("nuclei", "{}"))
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as e:
        raise UserError(f"{path} is damaged ({e}); get it again") from e
    if settings.keys() != KEYS:
        raise UserError(f"{path} holds weights alone; expected a file that ./run.sh export wrote")
    return settings, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
