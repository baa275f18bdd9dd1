"""What can be said of a candidate nucleus by its outline and by the maps: the input of the second stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np

from nuclei.labelmap.objects import N_SHAPE_SUMS, object_sums
from nuclei.labelmap.overlap import best_ious, pair_runs
from nuclei.postprocess.watershed import offset_border

MAPS = ("nucleus", "border", "distance")
LARGE = 1e5  # pixels; up to there even a line's moments fit into 64 bits


def features(candidates: Sequence[np.ndarray], maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Describe every object of some label maps of one image.

    Args:
        candidates: int32 (H, W) each, numbered without gaps; the first is the plain result, whose nuclei say
            how large those of the image are.
        maps: uint8 (H, W) by name, ``nucleus`` among them; of offsets it is their falls that count.

    Returns:
        For each label map float32 (N, F): shape, neighbours, mean and extremes of the maps, the size beside
        that of the image's other nuclei, and the IoU with the best fitting object of each label map: what
        many settings agree on is likely to be right.
    """
    planes = np.stack(
        [
            offset_border(maps["offset_y"], maps["offset_x"]) if name == "falls" else maps[name]
            for name in described(maps)
        ]
    )
    counts = [int(labels.max(initial=0)) for labels in candidates]
    totals = [object_sums(labels, n, planes)[1:] for labels, n in zip(candidates, counts, strict=True)]
    areas = totals[0][:, 0]
    image = (float(np.median(areas)) if len(areas) else 1.0, len(areas), areas.sum() / planes[0].size)
    agreed = _agreement(candidates, counts)
    return [
        np.column_stack([_shape(t), _of_maps(t), _beside(t, image), a]).astype(np.float32)
        for t, a in zip(totals, agreed, strict=True)
    ]


def described(channels: Collection[str]) -> list[str]:
    """Names of the maps that describe a candidate, of those there are; ``falls`` stands for the offsets."""
    offsets = {"offset_y", "offset_x"} <= set(channels)
    return [name for name in MAPS if name in channels] + ["falls"] * offsets


def _shape(t: np.ndarray) -> np.ndarray:
    """Area, the ellipse of the same moments, roughness, neighbours; float64 (N, 6)."""
    area = t[:, 0]
    vy, vx, vyx = (_moment(t, *columns) for columns in ((1, 1, 3), (2, 2, 4), (1, 2, 5)))
    vy, vx = vy + 1 / 12, vx + 1 / 12
    root = np.sqrt(((vy - vx) / 2) ** 2 + vyx**2)
    long, short = (vy + vx) / 2 + root, np.maximum((vy + vx) / 2 - root, 1e-3)
    edge = np.maximum(t[:, 6], 1)
    ellipse = area / (4 * np.pi * np.sqrt(long * short))
    return np.column_stack(
        [area, np.sqrt(long / short), ellipse, t[:, 6] ** 2 / area, t[:, 7] / edge, t[:, 8] / edge]
    )


def _moment(t: np.ndarray, a: int, b: int, product: int) -> np.ndarray:
    """Moment about the centre, float64 (N,): in integers, so exact, but for objects too large for 64 bits."""
    area = t[:, 0].astype(float)
    exact = (t[:, 0] * t[:, product] - t[:, a] * t[:, b]) / area**2
    rough = t[:, product] / area - (t[:, a] / area) * (t[:, b] / area)
    return np.where(area < LARGE, exact, rough)


def _of_maps(t: np.ndarray) -> np.ndarray:
    """Mean, mean at the edge and maximum of each map; deviation and mean just outside of the first."""
    area, edge = t[:, :1], np.maximum(t[:, 6:7], 1)
    inside, along, highest = (t[:, N_SHAPE_SUMS + k :: 3] for k in range(3))
    deviation = np.sqrt(np.maximum(t[:, 9] / t[:, 0] - (inside[:, 0] / t[:, 0]) ** 2, 0))
    return np.column_stack(
        [inside / area, along / edge, highest, deviation, t[:, 11] / np.maximum(t[:, 10], 1)]
    )


def _beside(t: np.ndarray, image: tuple[float, int, float]) -> np.ndarray:
    """The area over the image's median, and what the whole image is like."""
    return np.column_stack([t[:, 0] / image[0], np.broadcast_to(image, (len(t), 3))])


def _agreement(candidates: Sequence[np.ndarray], counts: Sequence[int]) -> list[np.ndarray]:
    """IoU of each object with the best fitting one of each label map: float64 (N, K)."""
    best = [np.ones((n, len(counts))) for n in counts]
    for i, j in combinations(range(len(counts)), 2):
        a, b = best_ious(*pair_runs(candidates[i].ravel(), candidates[j].ravel()))
        best[i][:, j], best[j][:, i] = a[1:], b[1:]
    return best
