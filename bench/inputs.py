"""What is measured on: images of the training set, and out-of-fold maps of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nuclei.data.folds import FoldRow, folds_sha256
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS, targets
from nuclei.ensemble.oof import Member, find_members
from nuclei.errors import UserError

CROWDED = 24
"""Nuclei that an image of the sample has at least: 65 of those have about 4,152."""


def sample(rows: Sequence[FoldRow], images: int, seed: int) -> list[int]:
    """Draw crowded images, as many as there are up to ``images``; return their numbers, ascending."""
    crowded = [i for i, row in enumerate(rows) if row.nuclei >= CROWDED]
    drawn = np.random.default_rng(seed).choice(crowded, min(images, len(crowded)), replace=False)
    return sorted(drawn.tolist())


def members_of(root: Path, rows: Sequence[FoldRow], folds: Path) -> list[Member]:
    """Return the complete runs below ``runs/<data>`` that have a network's three maps."""
    try:
        found, _ = find_members(root, None, rows, folds_sha256(folds))
    except UserError:
        return []
    return [member for member in found if set(CHANNELS) <= set(member.channels)]


def maps_of(
    members: Sequence[Member], count: int, store: Store, ids: Sequence[str], truth: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], str]:
    """Return uint8 (count, 3, H, W) maps for each image, and how they came about.

    Where there are fewer runs than ``count``, the rest are made of them, each blurred a little more; where
    there are none, all are made of the truth.
    """
    real = [member.maps(ids, CHANNELS) for member in members[:count]]
    if not real:
        maps = [np.stack([imitated(labels, seed) for seed in range(count)]) for labels in truth]
        return maps, f"{count} made of the truth, blurred, with noise"
    names = [member.name for member in members[:count]]
    maps = []
    for of_image in zip(*real, strict=True):
        more = [blurred(of_image[k % len(real)], 0.5 * (k + 1)) for k in range(count - len(real))]
        maps.append(np.stack([*of_image, *more]))
    made = f", {count - len(real)} more made of these by blurring" if count > len(real) else ""
    return maps, ", ".join(names) + made


def imitated(labels: np.ndarray, seed: int) -> np.ndarray:
    """Make maps like a network's of a label map: uint8 (3, H, W)."""
    noise = np.random.default_rng(seed).normal(0, 0.4, (len(CHANNELS), *labels.shape))
    blur = [cv2.GaussianBlur(channel, (0, 0), 1.5) for channel in targets(labels) + noise]
    return (np.clip(np.stack(blur), 0, 1) * 255).astype(np.uint8)


def blurred(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth uint8 (C, H, W) maps."""
    return np.stack([cv2.GaussianBlur(channel, (0, 0), sigma) for channel in maps])
