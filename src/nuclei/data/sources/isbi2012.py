"""The ISBI 2012 challenge: membranes of neurons in serial-section electron microscopy, as multi-page TIFFs.

30 sections of 512×512 pixels with labels (white inside cells, black on membranes) and 30 without, of the
ventral nerve cord of a Drosophila larva (Arganda-Carreras et al. 2015; http://brainiac2.mit.edu/isbi_challenge).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import tifffile

from nuclei.data.sources import Item, Source, Split
from nuclei.errors import UserError

FILES = ("train-volume.tif", "train-labels.tif", "test-volume.tif")
BLOCK = 6
"""Number of neighbouring sections, which look alike, that stay in one fold."""


@dataclass(frozen=True)
class Section(Item):
    """One page, counted from 0, of a volume and of its labels; test sections have no labels."""

    volume: Path
    page: int
    annotation: Path | None

    @property
    def parent(self) -> str:
        """Name of the block of sections that shares a fold."""
        return f"{self.split}_block_{self.page // BLOCK}"

    def read_image(self) -> np.ndarray:
        return pages(self.volume)[self.page]

    def modality(self, image: np.ndarray) -> str:
        return "electron"

    def read_labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """Return the cells, ``int32 (H, W)``: 4-connected pieces of the inside, parted by membranes."""
        assert self.annotation is not None
        inside = pages(self.annotation)[self.page] > 127
        if inside.shape != shape:
            raise UserError(
                f"{self.annotation}: expected sections of {shape}, got {inside.shape}; download it again"
            )
        return cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[1].astype(np.int32)


@lru_cache(maxsize=4)
def pages(path: Path) -> list[np.ndarray]:
    """Return the sections of a volume, each of the file's type ``(H, W)``."""
    try:
        return list(tifffile.imread(path))
    except Exception as e:  # readers fail in many ways on bytes that they do not expect
        raise UserError(f"{path} is damaged or no TIFF: {e}; download it again") from e


class Isbi2012(Source):
    """Images and labels of the challenge's three TIFF volumes, which lie in the folder ``root``."""

    def fetch(self) -> None:
        for name in FILES:
            if not (self.root / name).is_file():
                raise UserError(
                    f"no {name} in {self.root}; get the challenge's TIFF files and name their folder: "
                    "./run.sh prepare data=isbi2012 data.root=FOLDER"
                )

    def items(self, split: Split) -> list[Section]:
        """Return all sections of ``split``, in order.

        Raises:
            UserError: volume and labels have different numbers of pages.
        """
        volume = self.root / f"{split}-volume.tif"
        annotation = self.root / "train-labels.tif" if split == "train" else None
        n = len(pages(volume))
        if annotation and (other := len(pages(annotation))) != n:
            raise UserError(f"{annotation} has {other} pages, {volume.name} has {n}; download them again")
        return [Section(f"{split}_{page:02d}", split, volume, page, annotation) for page in range(n)]
