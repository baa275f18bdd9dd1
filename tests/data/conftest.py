"""What the tests of data/ share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from nuclei.data.augment import Augment
from nuclei.data.store import Entry, StoreRow, encode_image, encode_labels

OFF = {
    "scale": (1, 1),
    "diameter": None,
    "sized": 0.0,
    "spread": (1, 1),
    "stretch": 0.0,
    "brightness": 0.0,
    "gamma": (100, 100),
    "blur": 0.0,
    "noise": 0.0,
    "invert": 0.0,
    "tint": 0.0,
    "nucleus_brightness": None,
    "nucleus_defocus": None,
    "illumination": None,
    "stain": None,
    "recolour": None,
    "elastic": None,
    "jpeg": None,
}


@pytest.fixture(scope="session")
def plain_augment() -> Callable[..., Augment]:
    """Return a function that makes an Augment which only cuts, flips and turns, plus given settings."""
    return lambda crop, **settings: Augment(crop=crop, **(OFF | settings))


@pytest.fixture(scope="session")
def default_augment(repo: Path) -> Callable[..., Augment]:
    """Return a function that makes an Augment of the committed default settings."""
    settings = OmegaConf.load(repo / "configs" / "augment" / "default.yaml")

    def make(crop: int, **changes: Any) -> Augment:
        values = OmegaConf.to_container(
            OmegaConf.merge(settings, {"crop": crop, "scale": [0.5, 2.0]}, changes)
        )
        return Augment(**{key: value for key, value in values.items() if key != "_target_"})

    return make


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """Return a function that makes a store's entry, by default of a training image without nuclei."""

    def make(image_id: str, image: np.ndarray, labels: np.ndarray | None = None, **changes: Any) -> Entry:
        values: dict[str, Any] = {
            "split": "train",
            "channels": 1 if image.ndim == 2 else 3,
            "nuclei": 0 if labels is None else int(labels.max()),
            "modality": "fluorescence",
            "parent": image_id,
        }
        row = StoreRow(image_id, height=image.shape[0], width=image.shape[1], **(values | changes))
        if labels is None and row.split == "train":
            labels = np.zeros(image.shape[:2], np.int32)
        return row, encode_image(image), None if labels is None else encode_labels(labels)

    return make
