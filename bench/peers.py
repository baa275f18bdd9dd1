"""What others do, as their packages or the competition's public kernels do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pycocotools.mask
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian
from skimage.measure import label, regionprops_table
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential, watershed
from stardist.matching import matching

THRESHOLDS = tuple(k / 20 for k in range(10, 20))


def stardist_matching(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """TP, FP and FN at ten thresholds, int64 (10, 3); an IoU that equals one counts here."""
    found = matching(truth, prediction, thresh=THRESHOLDS)
    return np.array([(m.tp, m.fp, m.fn) for m in found])


def bincount_matching(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The same from a contingency table that ``np.bincount`` makes; labels without gaps."""
    n, m = int(truth.max()) + 1, int(prediction.max()) + 1
    table = np.bincount((truth * m + prediction).ravel(), minlength=n * m).reshape(n, m)
    shared = table[1:, 1:]
    union = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:] - shared
    tp = np.array([(shared * 20 > k * union).sum() for k in range(10, 20)])
    return np.stack([tp, m - 1 - tp, n - 1 - tp], axis=1)


def regionprops(candidates: Sequence[np.ndarray], maps: Mapping[str, np.ndarray]) -> list[dict]:
    """Shape and intensities of all objects, and the best IoU with those of each label map."""
    planes = np.stack(list(maps.values()), axis=-1)
    shape = ("area", "axis_major_length", "axis_minor_length", "perimeter")
    found = []
    for labels in candidates:
        table = regionprops_table(
            labels, planes, (*shape, "intensity_mean", "intensity_max", "intensity_std")
        )
        found.append(table | {"iou": np.stack([best_iou(labels, other) for other in candidates], 1)})
    return found


def best_iou(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU of each object with the one of the other label map that fits it best."""
    n, m = int(labels.max()) + 1, int(other.max()) + 1
    shared = np.bincount((labels * m + other).ravel(), minlength=n * m).reshape(n, m)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None] - shared
    return (shared / union)[1:, 1:].max(axis=1, initial=0.0)


def coco_encode(labels: np.ndarray) -> list[dict]:
    """A run-length code of each nucleus, its mask made from the label map."""
    count = int(labels.max())
    return [pycocotools.mask.encode(np.asfortranarray(labels == n)) for n in range(1, count + 1)]


def classic_encode(mask: np.ndarray) -> list[int]:
    """The loop that most kernels of the competition share."""
    pixels = np.where(mask.T.flatten() == 1)[0]
    runs: list[int] = []
    before = -2
    for pixel in pixels:
        if pixel > before + 1:
            runs.extend((pixel + 1, 0))
        runs[-1] += 1
        before = pixel
    return runs


def classic_encode_all(labels: np.ndarray) -> list[list[int]]:
    """The loop for each nucleus."""
    return [classic_encode(labels == n) for n in range(1, int(labels.max()) + 1)]


def pandas_write(path: Path, images: Mapping[str, np.ndarray]) -> None:
    """Write a submission from label maps."""
    ids: list[str] = []
    rows: list[list[int]] = []
    for image_id, labels in images.items():
        found = classic_encode_all(labels)
        rows.extend(found)
        ids.extend([image_id] * len(found))
    table = pd.DataFrame()
    table["ImageId"] = ids
    table["EncodedPixels"] = pd.Series(rows).apply(lambda row: " ".join(str(number) for number in row))
    table.to_csv(path, index=False)


def pandas_read(path: Path, shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, np.ndarray]]:
    """Read a submission row by row; yield the label map of each image."""
    image_id, flat, count = "", np.zeros(0, np.int32), 0
    for _, row in pd.read_csv(path).iterrows():
        if row["ImageId"] != image_id:
            if count:
                yield image_id, flat.reshape(shapes[image_id][::-1]).T
            image_id, count = row["ImageId"], 0
            flat = np.zeros(shapes[image_id][0] * shapes[image_id][1], np.int32)
        count += 1
        numbers = row["EncodedPixels"].split()
        starts, lengths = (np.asarray(part, dtype=int) for part in (numbers[0::2], numbers[1::2]))
        for start, length in zip(starts - 1, lengths, strict=True):
            flat[start : start + length] = count
    yield image_id, flat.reshape(shapes[image_id][::-1]).T


def chain(
    nucleus: np.ndarray, threshold: float = 0.5, sigma: float = 1.0, distance: int = 7, least: int = 20
) -> np.ndarray:
    """Threshold, fill, distance, markers, watershed, small objects: float (H, W) in 0..1 to labels."""
    mask = ndimage.binary_fill_holes(nucleus > threshold)
    height = gaussian(ndimage.distance_transform_edt(mask), sigma)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peak_local_max(height, min_distance=distance, labels=label(mask)).T)] = 1
    labels = watershed(-height, label(markers), mask=mask)
    return relabel_sequential(remove_small_objects(labels, max_size=least - 1))[0]


def loop_trial(cases: Sequence[tuple[np.ndarray, np.ndarray]], weights: Sequence[float]) -> float:
    """One trial of a search: maps, float (members, C, H, W), the first channel is nucleus; and the truth."""
    scores = []
    for maps, truth in cases:
        counts = bincount_matching(truth, chain(np.average(maps, axis=0, weights=weights)[0]))
        total = counts.sum(axis=1)
        scores.append(np.where(total, counts[:, 0] / np.maximum(total, 1), 1.0).mean())
    return float(np.mean(scores))
