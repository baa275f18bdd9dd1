"""Drawn nuclei with known places, and how many of them a label map has."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

N = 12


def draw(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, float (128, 168) in 0..1, bright nuclei on dark, and its int32 labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:128, :168]
    image, labels = np.full((128, 168), 0.05), np.zeros((128, 168), np.int32)
    for n in range(N):
        y, x = 22 + 42 * (n // 4) + rng.integers(-5, 6), 22 + 41 * (n % 4) + rng.integers(-5, 6)
        a, b = rng.uniform(8, 13, 2)
        inside = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
        labels[inside] = n + 1
        image[inside] = rng.uniform(0.45, 0.8) * (1 + 0.1 * rng.standard_normal(int(inside.sum())))
    image = gaussian_filter(image, 1.1) + 0.012 * rng.standard_normal(image.shape)
    return image.clip(0, 1), labels


def grey8(image: np.ndarray) -> np.ndarray:
    return np.round(image * 255).astype(np.uint8)


def grey12(image: np.ndarray) -> np.ndarray:
    return np.round(image * 4095).astype(np.uint16)


def hits(truth: np.ndarray, labels: np.ndarray) -> int:
    """Return how many of the drawn nuclei have a label of their own with an IoU above 0.7."""
    assert labels.shape == truth.shape
    count = 0
    for n in range(1, truth.max() + 1):
        mask = truth == n
        label = np.bincount(labels[mask]).argmax()
        found = labels == label
        count += bool(label) and (mask & found).sum() / (mask | found).sum() > 0.7
    return count
