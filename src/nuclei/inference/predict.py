"""Several trained networks on one image: the weighted mean of their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from nuclei.errors import UserError
from nuclei.inference.maps import has_bf16, place, predict


@dataclass(frozen=True)
class Voter:
    """A network in eval mode, with its say in the mean.

    Attributes:
        network: image to logits.
        channels: names of its maps.
        weight: of its maps; the weights of all voters sum to 1.
        tta: dihedral views to average.
    """

    network: nn.Module
    channels: Sequence[str]
    weight: float
    tta: int

    @classmethod
    def load(
        cls, network: nn.Module, weights: Path, channels: Sequence[str], weight: float, tta: int
    ) -> Voter:
        """Put the weights of a file into a network; one without parameters needs no file.

        Raises:
            UserError: the file is missing, damaged, or of another network.
        """
        if any(True for _ in network.parameters()):
            try:
                network.load_state_dict(safetensors.torch.load_file(weights))
            except FileNotFoundError:
                raise UserError(
                    f"no weights at {weights}; delete {weights.parent} and train it again"
                ) from None
            except (SafetensorError, RuntimeError) as e:
                what = str(e).splitlines()[0]
                raise UserError(f"{weights} is damaged or of another network ({what}); train it again") from e
        return cls(place(network), channels, weight, tta)


def average(voters: Sequence[Voter], channels: Sequence[str], image: np.ndarray) -> np.ndarray:
    """Weighted mean of the voters' maps.

    Args:
        voters: their weights sum to 1.
        channels: which maps to keep; every voter has them.
        image: ``uint8 (H, W)``, normalised.

    Returns:
        ``uint8 (C, H, W)``: probabilities times 255.
    """
    total = np.zeros((len(channels), *image.shape), np.float32)
    for voter in voters:
        maps = predict(voter.network, image, voter.tta, has_bf16())
        total += np.float32(voter.weight) * maps[[list(voter.channels).index(c) for c in channels]]
    return np.rint(np.clip(total, 0, 255)).astype(np.uint8)
