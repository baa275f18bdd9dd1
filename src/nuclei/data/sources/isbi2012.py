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

from nuclei.data import image_decoding as decode
from nuclei.data.sources.dsb2018 import Split
from nuclei.errors import UserError

FILES = ("train-volume.tif", "train-labels.tif", "test-volume.tif")
BLOCK = 6  # neighbouring sections look alike, so six of them stay in one fold


@dataclass(frozen=True)
class Section:
    """One page of the volume, and of the labels."""

    image_id: str
    split: Split
    volume: Path
    page: int
    truth: Path | None = None

    @property
    def parent(self) -> str:
        """The block of sections that shares a fold."""
        return f"{self.split}_block_{self.page // BLOCK}"

    def picture(self) -> np.ndarray:
        """``uint8 (H, W)``."""
        return _pages(self.volume)[self.page]

    def modality(self, picture: np.ndarray) -> str:
        """What kind of microscope it is from."""
        return "electron"

    def labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """``int32 (H, W)``: the cells, pieces of the inside that membranes part (4-connected)."""
        assert self.truth is not None
        inside = _pages(self.truth)[self.page] > 127
        if inside.shape != shape:
            raise UserError(
                f"{self.truth}: expected sections of {shape}, got {inside.shape}; download it again"
            )
        return cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[1].astype(np.int32)

    def classes(self, labels: np.ndarray) -> list[int]:
        """None are told apart."""
        return []


@lru_cache(maxsize=4)
def _pages(path: Path) -> list[np.ndarray]:
    return decode.pages(path.read_bytes(), str(path))


class Isbi2012:
    """Reads the challenge's three TIFF volumes.

    Args:
        root: the folder that holds them.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def fetch(self) -> None:
        """Check that the files are there.

        Raises:
            UserError: one is missing.
        """
        for name in FILES:
            if not (self.root / name).is_file():
                raise UserError(
                    f"no {name} in {self.root}; get the challenge's TIFF files and name their folder: "
                    "./run.sh prepare data=isbi2012 data.root=FOLDER"
                )

    def items(self, split: Split) -> list[Section]:
        """All sections of ``split``, in order.

        Raises:
            UserError: volume and labels have not as many pages.
        """
        volume = self.root / f"{split}-volume.tif"
        truth = self.root / "train-labels.tif" if split == "train" else None
        n = len(_pages(volume))
        if truth and len(_pages(truth)) != n:
            raise UserError(
                f"{truth} has {len(_pages(truth))} pages, {volume.name} has {n}; download them again"
            )
        return [Section(f"{split}_{page:02d}", split, volume, page, truth) for page in range(n)]
