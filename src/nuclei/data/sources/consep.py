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

from nuclei.data import image_decoding as decode
from nuclei.data.sources.dsb2018 import Split
from nuclei.errors import UserError


@dataclass(frozen=True)
class Tile:
    """A square of one picture."""

    image_id: str
    split: Split
    image: Path
    truth: Path
    y: int
    x: int
    side: int

    @property
    def parent(self) -> str:
        """The picture; its tiles share a fold."""
        return f"{self.image.parts[-3]}/{self.image.stem}"

    def picture(self) -> np.ndarray:
        """RGB ``uint8 (side, side, 3)``."""
        return self._cut(_picture(self.image))

    def modality(self, picture: np.ndarray) -> str:
        """What kind of microscope it is from."""
        return "histology"

    def labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """``int32 (side, side)``, numbered without gaps."""
        numbers = self._cut(_truth(self.truth)[0])
        if numbers.shape != shape:
            raise UserError(f"{self.truth}: inst_map is smaller than its picture; download it again")
        kept, dense = np.unique(numbers, return_inverse=True)
        return (dense.reshape(shape) + (kept[0] != 0)).astype(np.int32)

    def classes(self, labels: np.ndarray) -> list[int]:
        """The class of nucleus 1, 2 and so on."""
        numbers, types = _truth(self.truth)
        kept = np.unique(self._cut(numbers))
        return [types[int(number)] for number in kept if number]

    def _cut(self, a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a[self.y : self.y + self.side, self.x : self.x + self.side])


@lru_cache(maxsize=4)
def _picture(path: Path) -> np.ndarray:
    return decode.image(path.read_bytes(), str(path))


@lru_cache(maxsize=4)
def _truth(path: Path) -> tuple[np.ndarray, dict[int, int]]:
    """The map of nuclei and the class of each."""
    try:
        found = loadmat(path, variable_names=["inst_map", "inst_type"])
        numbers = found["inst_map"].astype(np.int64)
        types = [int(t) for t in found["inst_type"].ravel()]
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


class Consep:
    """Cuts the pictures of CoNSeP into tiles.

    All pictures with labels are training images, those of ``Test`` too, for out-of-fold scores: the report of
    Zhao et al. (2020) pools its 41 pictures as well. A picture of 1000 pixels gives four tiles of 256 a side,
    sixteen in all, which overlap by eight pixels.

    Args:
        root: the folder of ``Train`` and ``Test``; either may be missing.
        tile: side in pixels.
    """

    def __init__(self, root: str | Path, tile: int = 256) -> None:
        self.root, self.tile = Path(root), tile

    def fetch(self) -> None:
        """Check that the files are there.

        Raises:
            UserError: no picture is.
        """
        if not self._pictures():
            raise UserError(
                f"no Train/Images/*.png in {self.root}; get CoNSeP from the Tissue Image Analytics Centre "
                "and name its folder: ./run.sh prepare data=consep data.root=FOLDER"
            )

    def items(self, split: Split) -> list[Tile]:
        """All tiles; there are no test images.

        Raises:
            UserError: a picture has no labels.
        """
        return [] if split == "test" else [t for path in self._pictures() for t in self._tiles(path)]

    def _pictures(self) -> list[Path]:
        return [p for part in ("Train", "Test") for p in sorted((self.root / part / "Images").glob("*.png"))]

    def _tiles(self, image: Path) -> list[Tile]:
        truth = image.parents[1] / "Labels" / f"{image.stem}.mat"
        if not truth.is_file():
            raise UserError(f"{image} has no labels at {truth}; download the data again")
        height, width = _picture(image).shape[:2]
        name = f"{image.parts[-3].lower()}_{image.stem}"
        return [
            Tile(f"{name}_y{y}_x{x}", "train", image, truth, y, x, self.tile)
            for y in starts(height, self.tile)
            for x in starts(width, self.tile)
        ]


def starts(length: int, tile: int) -> list[int]:
    """Where tiles begin so that they cover ``length`` evenly.

    >>> starts(1000, 256), starts(200, 256)
    ([0, 248, 496, 744], [0])
    """
    n = -(-length // tile)
    return [round(k * (length - tile) / max(n - 1, 1)) if n > 1 else 0 for k in range(n)]
