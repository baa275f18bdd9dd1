"""From an image to its nuclei: the weighted mean of several networks' maps, and post-processing.

Networks can see all nuclei at one size, as in Cellpose (Stringer et al. 2021): a pass at half the image's
size and one at its own estimate how large the nuclei are, and a last one predicts the zoomed image, whose
maps come back at the image's own size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from safetensors import SafetensorError

from nuclei.data.image_stacks import JUDGED_WHOLE, Pixels, busiest_windows
from nuclei.data.preprocessing import NO_HINTS, ImageHints, is_positive, preprocess
from nuclei.errors import UserError
from nuclei.inference.model_file import OnnxNetwork
from nuclei.inference.predict_maps import VIEWS, Network, View, place, predict, resize_maps
from nuclei.metrics import equivalent_diameter
from nuclei.postprocess.pipeline import Step, as_config, by_name, postprocess
from nuclei.postprocess.watershed import MapWatershed
from nuclei.progress import within

if TYPE_CHECKING:
    from nuclei.models.base import SegmentationNetwork

ZOOM_LIMITS = (0.35, 2.0)
"""Least and greatest zoom; networks are trained on 0.35 to 2.5 and more."""
WIDE_LIMITS = (0.05, 4.0)
"""Least and greatest zoom where the user says how large the nuclei are."""
LARGE_DIAMETER = 36.0
"""In pixels; only parts of larger nuclei are seen at the image's own size."""
NEAR = (0.75, 1.35)
"""Zooms that a single view goes without: nuclei of 19 to 35 pixels are seen as well (docs/ablation.md)."""
MEASURED_SIDE = 512
"""Side in pixels of each of the four windows in which the nuclei of larger images are measured."""
MIN_AREA = 10
"""In square pixels; smaller objects do not count."""


class Prediction(NamedTuple):
    """Maps ``uint8 (C, H, W)`` of an image, and the mean of the zooms with which networks saw it."""

    maps: np.ndarray
    zoom: float


class EstimatedZoom(NamedTuple):
    """The zoom of an image, and its maps ``uint8 (C, H, W)`` at its own size, if they were made."""

    zoom: float
    own_maps: np.ndarray | None


def check_views(tta: int, diameter: float | None, scales: Sequence[float]) -> None:
    """Refuse settings with which no image can be predicted; see ``WeightedNetwork``."""
    if not isinstance(tta, int) or not 1 <= tta <= len(VIEWS):
        raise UserError(f"tta={tta!r}: expected 1 to {len(VIEWS)} views")
    if diameter is not None and not is_positive(diameter):
        raise UserError(f"diameter={diameter}: expected the mean diameter of nuclei in pixels, or null")
    if not scales or not all(map(is_positive, scales)):
        raise UserError(f"scales={list(scales)}: expected factors above 0, such as [1.0,1.25]")


@dataclass(frozen=True)
class WeightedNetwork:
    """A trained network in eval mode, with its weight in the mean of several.

    Attributes:
        network: from images to maps.
        channels: names of its maps.
        weight: of its maps; the weights of all networks sum to 1.
        tta: number of dihedral views to average, 1 to 8.
        diameter: mean diameter in pixels that nuclei are zoomed to; see ``estimate_zoom``.
        scales: factors of the zoom, which the views take in turn.

    Raises:
        UserError: there are not that many views, or a size is not positive.
    """

    network: Network
    channels: Sequence[str]
    weight: float = 1.0
    tta: int = 1
    diameter: float | None = None
    scales: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        check_views(self.tta, self.diameter, self.scales)

    def maps(self, image: np.ndarray, hints: ImageHints = NO_HINTS) -> np.ndarray:
        """Return maps ``uint8 (C, H, W)`` of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        return self.predict(image, hints).maps

    def predict(self, image: np.ndarray, hints: ImageHints = NO_HINTS) -> Prediction:
        """Return the maps of an image and its zoom; see ``zoom`` for the error."""
        shown = preprocess(image, self.network.preprocessing, hints)
        zoom, own_maps = self._estimate(shown, hints)
        return Prediction(self.zoomed_maps(shown, zoom) if own_maps is None else own_maps, zoom)

    @property
    def _is_zoomed(self) -> bool:
        """Whether images are zoomed; the size of nuclei is measured with the map ``distance``."""
        return self.diameter is not None and "distance" in self.channels

    @property
    def _is_single(self) -> bool:
        """Whether an image is seen once, in one view at one scale."""
        return self.tta == 1 and self.scales[0] == 1

    def zoom(self, shown: np.ndarray, hints: ImageHints) -> float:
        """Return how much an image, ``uint8 (H, W)`` or ``(H, W, 3)`` after preprocessing, is to be zoomed.

        Raises:
            UserError: the diameter of nuclei is given, and the network is not zoomed.
        """
        return self._estimate(shown, hints).zoom

    def _estimate(self, shown: np.ndarray, hints: ImageHints) -> EstimatedZoom:
        """Return what ``zoom`` returns, and the maps if they were made to find it."""
        if self.diameter is None or not self._is_zoomed:
            if hints.diameter is not None:
                raise UserError(f"diameter={hints.diameter}: this model sees images at their own size alone")
            return EstimatedZoom(1.0, None)
        if hints.diameter is not None:
            estimated = EstimatedZoom(float(np.clip(self.diameter / hints.diameter, *WIDE_LIMITS)), None)
        else:
            estimated = estimate_zoom(self.network, shown, self.channels, self.diameter)
        if self._is_single and NEAR[0] <= estimated.zoom <= NEAR[1]:
            return estimated._replace(zoom=1.0)
        return estimated._replace(own_maps=None)

    def zoomed_maps(self, shown: np.ndarray, zoom: float) -> np.ndarray:
        """Return maps ``uint8 (C, H, W)`` of an image after preprocessing, predicted at a zoom."""
        views, scales = VIEWS[: self.tta], self.scales[: self.tta]
        if not self._is_zoomed:
            return predict(self.network, shown, views)
        if len(scales) == 1:
            return predict_zoomed(self.network, shown, zoom * scales[0], views)
        total = np.zeros((len(self.channels), *shown.shape[:2]), np.float32)
        for n, scale in enumerate(scales):
            some = views[n :: len(self.scales)]
            total += len(some) * predict_zoomed(self.network, shown, zoom * scale, some).astype(np.float32)
        return np.rint(total / self.tta).astype(np.uint8)


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

    def maps(self, image: np.ndarray, hints: ImageHints = NO_HINTS) -> np.ndarray:
        """Return the weighted mean of the networks' maps of an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``.

        Maps are ``uint8 (C, H, W)``: probabilities times 255, of ``channels``.
        """
        return self.predict(image, hints).maps

    def predict(self, image: np.ndarray, hints: ImageHints = NO_HINTS) -> Prediction:
        """Return the weighted mean of the networks' maps, and the mean zoom; see ``maps``."""
        predictions = [member.predict(image, hints) for member in self.networks]
        zoom = float(np.mean([prediction.zoom for prediction in predictions]))
        return Prediction(self.mean_maps([prediction.maps for prediction in predictions]), zoom)

    def mean_maps(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """Return the weighted mean of each network's maps, ``uint8 (C, H, W)`` of ``channels``."""
        if len(maps) == 1 and self.networks[0].weight == 1:
            return maps[0][self._places(self.networks[0])]
        total = np.zeros((len(self.channels), *maps[0].shape[1:]), np.float32)
        for member, member_maps in zip(self.networks, maps, strict=True):
            for mean, index in zip(total, self._places(member), strict=True):
                mean += np.float32(member.weight) * member_maps[index]
        return np.rint(np.clip(total, 0, 255)).astype(np.uint8)

    def _places(self, member: WeightedNetwork) -> list[int]:
        """Return where a network has the maps of ``channels``."""
        return [list(member.channels).index(channel) for channel in self.channels]

    def labels(self, maps: np.ndarray) -> np.ndarray:
        """Return labels ``int32 (H, W)`` of maps; the quick part, which needs no network."""
        return postprocess(maps, self.channels, self.steps)

    def use_threads(self, count: int) -> None:
        """Let networks compute each image with ``count`` threads."""
        for member in self.networks:
            if isinstance(member.network, OnnxNetwork):
                member.network.use_threads(count)
            else:
                import torch

                torch.set_num_threads(count)

    def fingerprint(self) -> str:
        """Return a hash that changes with the weights, the views and the post-processing, trees included."""
        digest = hashlib.sha256(repr((list(self.channels), as_config(self.steps))).encode())
        for member in self.networks:
            views = (member.tta, member.diameter, tuple(member.scales))
            shown = (member.network.preprocessing, member.network.size)
            digest.update(repr((list(member.channels), member.weight, views, shown)).encode())
            if isinstance(member.network, OnnxNetwork):
                digest.update(member.network.fingerprint())
                continue
            for tensor in member.network.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def load_weights(network: SegmentationNetwork, path: Path) -> SegmentationNetwork:
    """Put the weights of a file into a network and the network where it runs, in eval mode.

    A network without parameters needs no file.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    import safetensors.torch

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


def estimate_zoom(
    network: Network, image: np.ndarray, channels: Sequence[str], diameter: float
) -> EstimatedZoom:
    """Find the zoom that gives the nuclei of an image a mean ``diameter``, within ``ZOOM_LIMITS``.

    Of large nuclei only parts or bright spots are seen at the image's own size, so half of it comes first.
    Of an image of more than ``JUDGED_WHOLE`` pixels only the busiest part is measured.
    """
    is_whole = image.shape[0] * image.shape[1] <= JUDGED_WHOLE
    measured = image if is_whole else busiest_part(image)

    def maps_at(zoom: float) -> np.ndarray:
        with within(f"nuclei's size at {zoom:g} x"):
            return predict(network, zoom_image(measured, zoom))

    own_maps, current = None, mean_diameter(by_name(maps_at(0.5), channels)) / 0.5
    if current <= LARGE_DIAMETER:
        own_maps = maps_at(1.0)
        current = mean_diameter(by_name(own_maps, channels)) or current
    zoom = float(np.clip(diameter / current, *ZOOM_LIMITS)) if current else 1.0
    return EstimatedZoom(zoom, own_maps if is_whole else None)


def busiest_part(image: Pixels) -> np.ndarray:
    """Return the four windows of an image with the greatest contrast, as one image of 2 by 2 of them."""
    a, b, c, d = (image[window] for window in busiest_windows(image, MEASURED_SIDE))
    return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)], axis=0)


def predict_zoomed(network: Network, image: np.ndarray, zoom: float, views: Sequence[View]) -> np.ndarray:
    """Return the maps of the zoomed image, ``uint8 (C, H, W)`` at the image's own size."""
    with within(f"maps at {zoom:.2f} x"):
        maps = predict(network, zoom_image(image, zoom), views)
    if maps.shape[1:] == image.shape[:2]:
        return maps
    return resize_maps(maps, image.shape[:2], cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_AREA)


def zoom_image(image: np.ndarray, zoom: float) -> np.ndarray:
    """Return the image, ``zoom`` times as large in both directions."""
    size = tuple(max(1, round(n * zoom)) for n in image.shape[1::-1])
    if size == image.shape[1::-1]:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)


def mean_diameter(maps: Mapping[str, np.ndarray]) -> float:
    """Return the diameter in pixels of a disc with the mean area of the nuclei that the watershed finds.

    Maps are ``uint8 (H, W)``, by name; without a nucleus it is 0.
    """
    areas = np.bincount(MapWatershed()(maps).ravel())[1:]
    areas = areas[areas >= MIN_AREA]
    return float(equivalent_diameter(areas.mean())) if len(areas) else 0.0
