"""Features of candidate nuclei, by which the second stage scores them: outline, maps and neighbours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from nuclei.labelmap.objects import N_SHAPE_SUMS, object_sums
from nuclei.labelmap.overlap import best_ious, pair_runs
from nuclei.postprocess.watershed import offset_border

MAPS = ("nucleus", "border", "distance")
EXACT_AREA = 1e5  # pixels; up to there even the moments of a line fit into 64 bits


class ImageNuclei(NamedTuple):
    """The nuclei of an image, with which each candidate is compared.

    Attributes:
        median_area: in pixels; 1 where there is none.
        number: how many there are.
        share: of the image that they cover, 0..1.
    """

    median_area: float
    number: float
    share: float

    @classmethod
    def of(cls, areas: np.ndarray, pixels: int) -> ImageNuclei:
        """Summarise the nuclei of an image of ``pixels`` pixels from their areas, ``(N,)``."""
        return cls(float(np.median(areas)) if len(areas) else 1.0, len(areas), areas.sum() / pixels)


def candidate_features(
    candidates: Sequence[np.ndarray], maps: Mapping[str, np.ndarray], image: ImageNuclei | None = None
) -> list[np.ndarray]:
    """Return the features of every object of several label maps of one image.

    Args:
        candidates: int32 (H, W) each, numbered without gaps; the objects of the first one are the image's
            nuclei with which sizes are compared.
        maps: uint8 (H, W) by name, ``nucleus`` among them; offsets count by their ``offset_border``.
        image: the nuclei of the whole image, where the maps are a part of it.

    Returns:
        For each label map float32 (N, F): shape, neighbours, mean and extremes of the maps, the area compared
        with the image's other nuclei, and the IoU with the best fitting object of each label map, which is
        high for objects that many thresholds agree on.
    """
    planes = np.stack(
        [
            offset_border(maps["offset_y"], maps["offset_x"]) if name == "offset_border" else maps[name]
            for name in feature_maps(maps)
        ]
    )
    counts = [int(labels.max(initial=0)) for labels in candidates]
    sums = [object_sums(labels, n, planes)[1:] for labels, n in zip(candidates, counts, strict=True)]
    image = image or ImageNuclei.of(sums[0][:, 0], planes[0].size)
    return [
        np.column_stack([_shape_features(t), _map_features(t), _image_features(t, image), agreement]).astype(
            np.float32
        )
        for t, agreement in zip(sums, _agreements(candidates, counts), strict=True)
    ]


def feature_maps(channels: Collection[str]) -> list[str]:
    """Return the names of the maps that give features; ``offset_border`` stands for the two offsets."""
    offsets = {"offset_y", "offset_x"} <= set(channels)
    return [name for name in MAPS if name in channels] + ["offset_border"] * offsets


def _shape_features(sums: np.ndarray) -> np.ndarray:
    """Return features of the outline, float64 (N, 6).

    Area, the ratio of the axes of the ellipse with the same moments, the area over that of the ellipse, edge
    pixels squared over the area, and the shares of edge pixels at other objects and at the image's border.
    """
    area = sums[:, 0]
    vy, vx, vyx = (_central_moment(sums, *columns) for columns in ((1, 1, 3), (2, 2, 4), (1, 2, 5)))
    vy, vx = vy + 1 / 12, vx + 1 / 12
    root = np.sqrt(((vy - vx) / 2) ** 2 + vyx**2)
    long, short = (vy + vx) / 2 + root, np.maximum((vy + vx) / 2 - root, 1e-3)
    edge = np.maximum(sums[:, 6], 1)
    ellipse = area / (4 * np.pi * np.sqrt(long * short))
    roughness = sums[:, 6] ** 2 / area
    return np.column_stack(
        [area, np.sqrt(long / short), ellipse, roughness, sums[:, 7] / edge, sums[:, 8] / edge]
    )


def _central_moment(sums: np.ndarray, a: int, b: int, product: int) -> np.ndarray:
    """Return a second moment about the centre, float64 (N,); in integers, so that flips do not change it."""
    area = sums[:, 0].astype(float)
    exact = (sums[:, 0] * sums[:, product] - sums[:, a] * sums[:, b]) / area**2
    rounded = sums[:, product] / area - (sums[:, a] / area) * (sums[:, b] / area)
    return np.where(area < EXACT_AREA, exact, rounded)


def _map_features(sums: np.ndarray) -> np.ndarray:
    """Return features of the C maps, float64 (N, 3 C + 2).

    The mean, the mean at the edge and the maximum of each map; of the first map also the standard deviation
    and the mean over the background next to the object.
    """
    area, edge = sums[:, :1], np.maximum(sums[:, 6:7], 1)
    inside, at_edge, highest = (sums[:, N_SHAPE_SUMS + k :: 3] for k in range(3))
    deviation = np.sqrt(np.maximum(sums[:, 9] / sums[:, 0] - (inside[:, 0] / sums[:, 0]) ** 2, 0))
    outside = sums[:, 11] / np.maximum(sums[:, 10], 1)
    return np.column_stack([inside / area, at_edge / edge, highest, deviation, outside])


def _image_features(sums: np.ndarray, image: ImageNuclei) -> np.ndarray:
    """Return the area over the median area, and ``image``: that median, the nuclei, the share they cover."""
    return np.column_stack([sums[:, 0] / image.median_area, np.broadcast_to(np.array(image), (len(sums), 3))])


def _agreements(candidates: Sequence[np.ndarray], counts: Sequence[int]) -> list[np.ndarray]:
    """Return the highest IoU of each object with an object of each of K label maps, float64 (N, K) each."""
    best = [np.ones((n, len(counts))) for n in counts]
    for i, j in combinations(range(len(counts)), 2):
        a, b = best_ious(*pair_runs(candidates[i].ravel(), candidates[j].ravel()))
        best[i][:, j], best[j][:, i] = a[1:], b[1:]
    return best
