"""Weights and checkpoints of a training: written whole, checked when read."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from nuclei.atomic import atomic_write
from nuclei.errors import UserError

LEAST_SHARE = 0.9
"""Share of a network's weights that must fit for a training to start from them."""


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole."""
    with atomic_write(path) as part:
        part.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()}))


def start_from(network: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Put those weights into a network that fit by name and shape; the others begin anew.

    Another run's last layer does not fit when its maps are others.

    Args:
        network: to change.
        weights: tensors by name.
        source: where they come from, for messages.

    Raises:
        UserError: less than ``LEAST_SHARE`` of the network's weights fit.
    """
    state = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in state and v.shape == state[k].shape}
    share = sum(v.numel() for v in fitting.values()) / max(sum(v.numel() for v in state.values()), 1)
    if share < LEAST_SHARE:
        raise UserError(
            f"{source} is of another network: {share:.0%} of the weights fit; choose another init"
        )
    network.load_state_dict(fitting, strict=False)
    if anew := sorted(state.keys() - fitting.keys()):
        print(
            f"{len(fitting)} of {len(state)} tensors from {source}; anew: {', '.join(anew)}", file=sys.stderr
        )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the last one and renames it, so that one of the two is whole at any time.

    Lightning's own goes through the folder of temporary files, and is copied where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to ``path``; ``storage_options`` are not used."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_write(path) as part:
            part.write_bytes(buffer.getbuffer())


def check_checkpoint(path: Path) -> None:
    """Check that a checkpoint is whole, by the CRC-32s of the zip file that it is.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as z:
            damaged = z.testzip()
    except zipfile.BadZipFile:
        damaged = "its directory"
    if damaged:
        raise UserError(f"{path} is damaged at {damaged}; delete it to train this fold from its start")
