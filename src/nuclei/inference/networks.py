"""Several trained networks on one image: the weighted mean of their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from nuclei.data.preprocessing import preprocess
from nuclei.errors import UserError
from nuclei.inference.predict_maps import has_bf16, place
from nuclei.inference.rescale import predict_at_size


@dataclass(frozen=True)
class Voter:
    """A network in eval mode, with its say in the mean.

    Attributes:
        network: image to logits.
        channels: names of its maps.
        weight: of its maps; the weights of all voters sum to 1.
        tta: dihedral views to average.
        diameter: that nuclei are zoomed to; see ``nuclei.inference.rescale``.
        scales: of the zoom, which the views take in turn.
    """

    network: nn.Module
    channels: Sequence[str]
    weight: float = 1.0
    tta: int = 1
    diameter: float | None = None
    scales: Sequence[float] = (1.0,)

    def maps(self, image: np.ndarray) -> np.ndarray:
        """``uint8 (C, H, W)`` maps of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        shown = preprocess(image, self.network.preprocessing)  # type: ignore[arg-type]
        channels, bf16 = self.channels, has_bf16()
        return predict_at_size(self.network, shown, channels, self.diameter, self.tta, self.scales, bf16)


def load(network: nn.Module, weights: Path) -> nn.Module:
    """Put the weights of a file into a network, and the network where it runs; no parameters need no file.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    if any(True for _ in network.parameters()):
        try:
            network.load_state_dict(safetensors.torch.load_file(weights))
        except FileNotFoundError:
            raise UserError(f"no weights at {weights}; delete {weights.parent} and train it again") from None
        except (SafetensorError, RuntimeError) as e:
            what = str(e).splitlines()[0]
            advice = "delete it and train again"
            raise UserError(f"{weights} is damaged or of another network ({what}); {advice}") from e
    return place(network)


def average(voters: Sequence[Voter], channels: Sequence[str], image: np.ndarray) -> np.ndarray:
    """Weighted mean of the voters' maps.

    Args:
        voters: their weights sum to 1.
        channels: which maps to keep; every voter has them.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.

    Returns:
        ``uint8 (C, H, W)``: probabilities times 255.
    """
    total = np.zeros((len(channels), *image.shape[:2]), np.float32)
    for voter in voters:
        at = [list(voter.channels).index(c) for c in channels]
        total += np.float32(voter.weight) * voter.maps(image)[at]
    return np.rint(np.clip(total, 0, 255)).astype(np.uint8)
