"""Data sets: one module for each form in which images and their annotations are published.

Here stands what each must offer so that a store can be made of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nuclei.data.preprocessing import guess_modality

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Item(ABC):
    """One image of a data set.

    Attributes:
        image_id: a word that can stand in a CSV, unique in the data set.
        split: ``train`` images have labels.
    """

    image_id: str
    split: Split

    @property
    def parent(self) -> str:
        """Name of the picture or block that the image was cut from; images of one parent share a fold."""
        return self.image_id

    @abstractmethod
    def read_image(self) -> np.ndarray:
        """Return ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``."""

    @abstractmethod
    def read_labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """Return ``int32 (H, W)``, 0 background and 1..N nuclei; count corrections in ``counts``."""

    def modality(self, image: np.ndarray) -> str:
        """Return the kind of microscope that the image comes from."""
        return guess_modality(image)

    def classes(self, labels: np.ndarray) -> list[int]:
        """Return the class of nucleus 1, 2 and so on, each 1 or more; empty when there are no classes."""
        return []


class Source(ABC):
    """A data set: the files below ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def fetch(self) -> None:
        """Make sure that the files are there, or raise a ``UserError`` that says how to get them."""

    @abstractmethod
    def items(self, split: Split) -> Sequence[Item]:
        """Return all images of a split."""

    def state(self) -> str:
        """Return a text that changes with the files; empty for a published data set, which never does."""
        return ""
