"""From an image to its nuclei: the weighted mean of several networks' maps, and post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from nuclei.data.preprocessing import preprocess
from nuclei.errors import UserError
from nuclei.inference.predict_maps import place
from nuclei.inference.rescale import predict_at_diameter
from nuclei.models.base import SegmentationNetwork
from nuclei.postprocess.pipeline import Step, postprocess


@dataclass(frozen=True)
class WeightedNetwork:
    """A trained network in eval mode, with its weight in the mean of several.

    Attributes:
        network: from images to maps.
        channels: names of its maps.
        weight: of its maps; the weights of all networks sum to 1.
        tta: number of dihedral views to average, 1 to 8.
        diameter: mean diameter in pixels that nuclei are zoomed to; see ``nuclei.inference.rescale``.
        scales: factors of the zoom, which the views take in turn.
    """

    network: SegmentationNetwork
    channels: Sequence[str]
    weight: float = 1.0
    tta: int = 1
    diameter: float | None = None
    scales: Sequence[float] = (1.0,)

    def maps(self, image: np.ndarray) -> np.ndarray:
        """Return maps ``uint8 (C, H, W)`` of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        shown = preprocess(image, self.network.preprocessing)
        return predict_at_diameter(self.network, shown, self.channels, self.diameter, self.tta, self.scales)


@dataclass(frozen=True)
class Segmenter:
    """All that turns an image into a label map.

    Attributes:
        networks: their weights sum to 1.
        channels: names of the maps that every network has and the steps use.
        steps: of post-processing, from maps to labels, then from labels to labels.
    """

    networks: Sequence[WeightedNetwork]
    channels: Sequence[str]
    steps: Sequence[Step]

    def maps(self, image: np.ndarray) -> np.ndarray:
        """Return the weighted mean of the networks' maps.

        Args:
            image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.

        Returns:
            ``uint8 (C, H, W)``: probabilities times 255, of ``channels``.
        """
        total = np.zeros((len(self.channels), *image.shape[:2]), np.float32)
        for member in self.networks:
            places = [list(member.channels).index(channel) for channel in self.channels]
            total += np.float32(member.weight) * member.maps(image)[places]
        return np.rint(np.clip(total, 0, 255)).astype(np.uint8)

    def labels(self, maps: np.ndarray) -> np.ndarray:
        """Return labels ``int32 (H, W)`` of maps; the quick part, which needs no network."""
        return postprocess(maps, self.channels, self.steps)


def load_weights(network: SegmentationNetwork, path: Path) -> SegmentationNetwork:
    """Put the weights of a file into a network and the network where it runs, in eval mode.

    A network without parameters needs no file.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    if any(True for _ in network.parameters()):
        try:
            network.load_state_dict(safetensors.torch.load_file(path))
        except FileNotFoundError:
            raise UserError(f"no weights at {path}; delete {path.parent} and train it again") from None
        except (SafetensorError, RuntimeError) as e:
            problem = str(e).splitlines()[0]
            raise UserError(
                f"{path} is damaged or of another network ({problem}); delete it and train again"
            ) from e
    return place(network)
