"""Kinds of images: clusters by modality, size, look and size of nuclei, for a harder cross-validation."""

from __future__ import annotations

import numpy as np

from nuclei.data.store import Store
from nuclei.metrics import equivalent_diameter
from nuclei.progress import track


def kinds(store: Store, group: list[int], n_kinds: int) -> list[int]:
    """Cluster the training images of ``store`` into kinds.

    Ward's hierarchical clustering (scikit-learn) of standardised features: how the image looks, how large
    it is and how large and dense its nuclei are; modalities never share a kind.

    Args:
        store: the images.
        group: of each training image; a group shares one kind.
        n_kinds: how many, at most one for each group.

    Returns:
        Number of the kind of each training image.
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.preprocessing import StandardScaler

    ids = store.ids("train")
    seen = np.array([features(store.image(i), store.labels(i)) for i in track(ids, "kinds")])
    names, members = np.unique(group, return_inverse=True)
    modality = [store.row(i)["modality"] for i in ids]
    apart = np.array([[m == other for other in sorted(set(modality))] for m in modality], float)
    table = np.hstack([StandardScaler().fit_transform(seen), 100 * apart])
    mean = np.stack([table[members == g].mean(0) for g in range(len(names))])
    clusters = AgglomerativeClustering(min(n_kinds, len(names))).fit_predict(mean)
    return [int(k) for k in clusters[members]]


def features(image: np.ndarray, labels: np.ndarray) -> list[float]:
    """What tells kinds apart.

    Args:
        image: ``uint8 (H, W)`` or ``(H, W, 3)``.
        labels: ``int32 (H, W)``.

    Returns:
        Median and range of each colour, contrast of nuclei to their surroundings, sharpness, and the
        logarithms of the image's area, the nuclei's mean diameter and their share of the area.
    """
    colour = image.reshape(*image.shape[:2], -1).astype(np.float32)
    colour = np.broadcast_to(colour, (*image.shape[:2], 3))
    inside = labels > 0
    low, middle, high = np.percentile(colour, (5, 50, 95), axis=(0, 1))
    grey = colour.mean(2)
    spread = float(grey.std()) + 1
    contrast = (
        (grey[inside].mean() - grey[~inside].mean()) / spread if 0 < inside.sum() < inside.size else 0.0
    )
    sharpness = np.log(np.abs(np.diff(grey, axis=0)).mean() / spread + 1e-3)
    count = max(1, np.unique(labels[inside]).size)
    diameter = np.log(equivalent_diameter(max(1, inside.sum()) / count))
    return [
        *middle,
        *(high - low),
        contrast,
        sharpness,
        np.log(inside.size),
        diameter,
        np.log(inside.mean() + 1e-3),
    ]
