"""CoNSeP: H&E tiles of colorectal tissue with outlines and classes of nuclei (Graham et al. 2019, HoVer-Net).

``Train/Images/NAME.png`` and ``Train/Labels/NAME.mat``, and the same below ``Test``. A label file holds
``inst_map`` (1000, 1000), 0 and a number for each nucleus; ``type_map`` (1000, 1000), the class of each
pixel; ``inst_type`` (N, 1) and ``inst_centroid`` (N, 2), x before y, in the order of the sorted numbers of
``inst_map``.
Classes: 1 other, 2 inflammatory, 3 healthy epithelial, 4 dysplastic or malignant epithelial, 5 fibroblast,
6 muscle, 7 endothelial.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from nuclei.data.image_io import decode_image
from nuclei.data.sources import Item, Source, Split
from nuclei.errors import UserError


@dataclass(frozen=True)
class Tile(Item):
    """A square of one picture: its first row and column and its side in pixels."""

    picture: Path
    annotation: Path
    y: int
    x: int
    side: int

    @property
    def parent(self) -> str:
        """Name of the picture, whose tiles share a fold."""
        return f"{self.picture.parts[-3]}/{self.picture.stem}"

    def read_image(self) -> np.ndarray:
        """Return RGB ``uint8 (side, side, 3)``."""
        return self._cut(_read_picture(self.picture))

    def modality(self, image: np.ndarray) -> str:
        return "histology"

    def read_labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """Return ``int32 (side, side)``, numbered without gaps."""
        numbers = self._cut(_read_annotation(self.annotation)[0])
        if numbers.shape != shape:
            raise UserError(f"{self.annotation}: inst_map is smaller than its picture; download it again")
        present, dense = np.unique(numbers, return_inverse=True)
        return (dense.reshape(shape) + (present[0] != 0)).astype(np.int32)

    def classes(self, labels: np.ndarray) -> list[int]:
        numbers, types = _read_annotation(self.annotation)
        return [types[int(number)] for number in np.unique(self._cut(numbers)) if number]

    def _cut(self, a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a[self.y : self.y + self.side, self.x : self.x + self.side])


@lru_cache(maxsize=4)
def _read_picture(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes(), str(path))


@lru_cache(maxsize=4)
def _read_annotation(path: Path) -> tuple[np.ndarray, dict[int, int]]:
    """Return the numbers of the nuclei, int64 (H, W), and the class of each number."""
    try:
        arrays = loadmat(path, variable_names=["inst_map", "inst_type"])
        numbers = arrays["inst_map"].astype(np.int64)
        types = [int(t) for t in arrays["inst_type"].ravel()]
    except (MatReadError, KeyError, ValueError, OSError, NotImplementedError, TypeError) as e:
        raise UserError(
            f"{path} is no label file of CoNSeP: {e!r}; expected inst_map and inst_type, MATLAB 5"
        ) from e
    present = [int(number) for number in np.unique(numbers) if number]
    if len(present) != len(types):
        raise UserError(
            f"{path}: inst_map has {len(present)} nuclei, inst_type has {len(types)}; download it again"
        )
    return numbers, dict(zip(present, types, strict=True))


class Consep(Source):
    """Tiles of CoNSeP's pictures.

    All pictures with labels are training images, those of ``Test`` too, for out-of-fold scores: the report of
    Zhao et al. (2020) pools its 41 pictures as well. A picture of 1000 pixels gives four tiles of 256 a side,
    sixteen in all, which overlap by eight pixels. Either of ``Train`` and ``Test`` may be missing.
    """

    def __init__(self, root: str | Path, tile: int = 256) -> None:
        super().__init__(root)
        self.tile = tile

    def fetch(self) -> None:
        if not self._pictures():
            raise UserError(
                f"no Train/Images/*.png in {self.root}; get CoNSeP from the Tissue Image Analytics Centre "
                "and name its folder: ./run.sh prepare data=consep data.root=FOLDER"
            )

    def items(self, split: Split) -> list[Tile]:
        """Return all tiles; there are no test images.

        Raises:
            UserError: a picture has no labels.
        """
        return [] if split == "test" else [t for path in self._pictures() for t in self._tiles(path)]

    def _pictures(self) -> list[Path]:
        return [p for part in ("Train", "Test") for p in sorted((self.root / part / "Images").glob("*.png"))]

    def _tiles(self, picture: Path) -> list[Tile]:
        annotation = picture.parents[1] / "Labels" / f"{picture.stem}.mat"
        if not annotation.is_file():
            raise UserError(f"{picture} has no labels at {annotation}; download the data again")
        height, width = _read_picture(picture).shape[:2]
        name = f"{picture.parts[-3].lower()}_{picture.stem}"
        return [
            Tile(f"{name}_y{y}_x{x}", "train", picture, annotation, y, x, self.tile)
            for y in tile_starts(height, self.tile)
            for x in tile_starts(width, self.tile)
        ]


def tile_starts(length: int, tile: int) -> list[int]:
    """Return where tiles start that cover ``length`` evenly.

    >>> tile_starts(1000, 256), tile_starts(200, 256)
    ([0, 248, 496, 744], [0])
    """
    n = -(-length // tile)
    return [round(k * (length - tile) / max(n - 1, 1)) if n > 1 else 0 for k in range(n)]
