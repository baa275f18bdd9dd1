"""Labels that look wrong: where confident maps and the annotators disagree.

After Northcutt, Jiang and Chuang, "Confident Learning" (2021), https://arxiv.org/abs/1911.00068: out-of-fold
probabilities that speak against a label with confidence point to label errors. The label here is a nucleus;
its suspicion is the mean, over its pixels and those of the predicted nucleus that goes with it, of the
distance between the nucleus map and the annotation. 1: the map is sure of the opposite on every pixel.

A network that never learnt a kind of nucleus is as sure as one that found a wrong mask: the list is for eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nuclei.analysis.error_types import Errors

KINDS = {
    "miss": "annotated, but looks like background",
    "false find": "looks like a nucleus, but has no mask",
    "wrong outline": "mask of another extent",
}


@dataclass(frozen=True)
class Suspect:
    """One label in doubt.

    Attributes:
        image_id: its image.
        kind: a key of ``KINDS``.
        label: in the store's label map; 0 where nothing is annotated.
        y, x: its middle, in pixels.
        area: of both nuclei together, in pixels.
        suspicion: 0..1.
    """

    image_id: str
    kind: str
    label: int
    y: int
    x: int
    area: int
    suspicion: float


def suspects(
    image_id: str, errors: Errors, truth: np.ndarray, prediction: np.ndarray, nucleus: np.ndarray
) -> list[Suspect]:
    """List the misses, false finds and wrong outlines of an image as suspects.

    Args:
        image_id: the image.
        errors: of the two label maps.
        truth: integers (H, W).
        prediction: the same.
        nucleus: uint8 (H, W), the map of the nuclei.
    """
    pairs = [("miss", t, 0) for t in errors.misses] + [("false find", 0, p) for p in errors.false_finds]
    pairs += [("wrong outline", t, p) for t, p in errors.wrong]
    disagreement = np.where(truth > 0, 255 - nucleus, nucleus) / 255
    true_at, predicted_at = _pixels(truth), _pixels(prediction)
    found = []
    for kind, t, p in pairs:
        pixels = np.union1d(true_at[t] if t else [], predicted_at[p] if p else []).astype(int)
        y, x = np.unravel_index(pixels, truth.shape)
        suspicion = float(disagreement.ravel()[pixels].mean())
        found.append(Suspect(image_id, kind, t, int(y.mean()), int(x.mean()), len(pixels), suspicion))
    return found


def worst(found: list[Suspect], number: int) -> list[Suspect]:
    """Return the most suspicious of each kind; of equal ones (to a tenth) the larger, for specks are many.

    Args:
        found: of all images.
        number: of each kind, at most.
    """
    ranked = sorted(found, key=lambda s: (-round(s.suspicion, 1), -s.area, s.image_id, s.y, s.x))
    return [s for kind in KINDS for s in [s for s in ranked if s.kind == kind][:number]]


def _pixels(labels: np.ndarray) -> list[np.ndarray]:
    """For each label from 0 on, the flat numbers of its pixels."""
    flat = labels.ravel()
    sizes = np.bincount(flat)
    return np.split(np.argsort(flat, kind="stable"), np.cumsum(sizes)[:-1])
