"""Annotations that look wrong, because confident maps contradict them.

After Northcutt, Jiang and Chuang, "Confident Learning" (2021), https://arxiv.org/abs/1911.00068. Here a
label is a nucleus, and its suspicion the mean distance between the nucleus map and the annotation, over the
pixels of the nucleus and of the predicted nucleus paired with it; at 1 the map is sure of the opposite on
every pixel. A network that never learnt a type of nucleus is as sure as one that found a wrong mask, so that
the list has to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nuclei.analysis.error_types import Errors
from nuclei.data.sources.dsb2018 import Dsb2018Item
from nuclei.data.store import Store
from nuclei.progress import track

DESCRIPTIONS = {
    "miss": "annotated, but looks like background",
    "false find": "looks like a nucleus, but has no mask",
    "wrong outline": "mask of another extent",
}


@dataclass(frozen=True)
class Suspect:
    """One annotation that looks wrong.

    Attributes:
        label: label in the store's label map; 0 where nothing is annotated.
        y, x: centre, in pixels.
        area: area of the annotated and the predicted nucleus together, in pixels.
        suspicion: 0..1.
    """

    image_id: str
    error_type: str
    label: int
    y: int
    x: int
    area: int
    suspicion: float


def find_suspects(
    image_id: str, errors: Errors, truth: np.ndarray, prediction: np.ndarray, nucleus: np.ndarray
) -> list[Suspect]:
    """Return the misses, false finds and wrong outlines of an image as suspects.

    Truth and prediction are integers (H, W), the nucleus map is uint8 (H, W).
    """
    pairs = [("miss", t, 0) for t in errors.misses] + [("false find", 0, p) for p in errors.false_finds]
    pairs += [("wrong outline", t, p) for t, p in errors.wrong]
    disagreement = np.where(truth > 0, 255 - nucleus, nucleus) / 255
    true_pixels, predicted_pixels = _pixels(truth), _pixels(prediction)
    suspects = []
    for error_type, t, p in pairs:
        pixels = np.union1d(true_pixels[t] if t else [], predicted_pixels[p] if p else []).astype(int)
        y, x = (int(axis.mean()) for axis in np.unravel_index(pixels, truth.shape))
        suspicion = float(disagreement.ravel()[pixels].mean())
        suspects.append(Suspect(image_id, error_type, t, y, x, len(pixels), suspicion))
    return suspects


def most_suspicious(suspects: Sequence[Suspect], number: int) -> list[Suspect]:
    """Return the most suspicious, at most ``number`` of each error type.

    Suspicions are compared to a tenth, and of equal ones the larger comes first, because specks are many.
    """
    ranked = sorted(suspects, key=lambda s: (-round(s.suspicion, 1), -s.area, s.image_id, s.y, s.x))
    return [s for t in DESCRIPTIONS for s in [s for s in ranked if s.error_type == t][:number]]


def _pixels(labels: np.ndarray) -> list[np.ndarray]:
    """Return the flat indices of the pixels of each label, from 0 on."""
    flat = labels.ravel()
    return np.split(np.argsort(flat, kind="stable"), np.cumsum(np.bincount(flat))[:-1])


def mask_files(items: Sequence[object], store: Store, suspects: Sequence[Suspect]) -> dict[Suspect, str]:
    """Return the mask file of each annotated suspect, where an item has a file for each nucleus."""
    with_masks = {item.image_id: item for item in items if isinstance(item, Dsb2018Item)}
    return {
        s: mask_file(with_masks[s.image_id], store.labels(s.image_id) == s.label)
        for s in track(suspects, "find mask files")
        if s.label and s.image_id in with_masks
    }


def mask_file(item: Dsb2018Item, nucleus: np.ndarray) -> str:
    """Return the name of the mask file that fits a nucleus, bool (H, W), best."""
    best_iou, name = 0.0, "none of its masks"
    for path in item.masks:
        mask = item.read_mask(path)
        if mask.shape != nucleus.shape:
            continue  # ``prepare`` left this mask out, and counted it
        iou = float(((mask > 0) & nucleus).sum() / ((mask > 0) | nucleus).sum())
        if iou > best_iou:
            best_iou, name = iou, path.rsplit("/", 1)[-1]
    return name
