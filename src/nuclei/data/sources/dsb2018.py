"""The 2018 Data Science Bowl's files, in any of the forms in which Kaggle and its users keep them."""

from __future__ import annotations

import os
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from nuclei.data.annotations import merge_pixels
from nuclei.data.image_io import SUFFIXES, decode_image, decode_mask
from nuclei.data.sources import Item, Source, Split
from nuclei.data.store import ZIP_ERRORS
from nuclei.errors import UserError


@dataclass(frozen=True)
class Dsb2018Item(Item):
    """An image of the competition.

    Attributes:
        image: path of the image file, in ``archive`` if there is one.
        masks: paths of the mask files, one for each nucleus.
        archive: the zip file that holds them, or None.
    """

    image: str
    masks: tuple[str, ...] = ()
    archive: str | None = None

    def read_image(self) -> np.ndarray:
        return decode_image(self._read(self.image), self.image)

    def read_mask(self, member: str) -> np.ndarray:
        """Return one of ``masks``, ``uint8 (H, W)``, not 0 inside the nucleus."""
        return decode_mask(self._read(member), member)

    def read_labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        return merge_masks(map(self.read_mask, self.masks), shape, counts)

    def _read(self, member: str) -> bytes:
        """Return the bytes of one of the files."""
        if self.archive is None:
            return Path(member).read_bytes()
        try:
            return _open(self.archive, os.getpid()).read(member)
        except ZIP_ERRORS as e:
            raise UserError(f"{self.archive} is damaged at {member}: {e}; download it again") from e


@lru_cache(maxsize=8)
def _open(archive: str, pid: int) -> zipfile.ZipFile:
    """Open a zip once in each process: forked ones would share, and move, a single file position."""
    try:
        return zipfile.ZipFile(archive)
    except ZIP_ERRORS as e:
        raise UserError(f"{archive} is no readable zip: {e}; download it again") from e


def merge_masks(masks: Iterable[np.ndarray], shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
    """Merge one mask for each nucleus into a label map.

    The rules are those of ``merge_pixels``, and two more, counted in ``counts``: masks ``of another size``
    than the image are left out; a mask ``in several pieces`` stays one nucleus, as in the competition's
    solution. In a mask, ``uint8 (H, W)``, any value above 0 is the nucleus.
    """
    objects = []
    for mask in masks:
        if mask.shape != shape:
            counts["of another size"] += 1
            continue
        if (pixels := np.flatnonzero(mask)).size:
            x, y, width, height = cv2.boundingRect(mask)
            window = mask[y : y + height, x : x + width]
            counts["in several pieces"] += cv2.connectedComponents(window, connectivity=8)[0] > 2
        objects.append(pixels)
    return merge_pixels(objects, shape, counts)


class Dsb2018(Source):
    """Images of ``stage1_train`` and ``stage1_test`` from zips or folders below ``root``.

    Accepted: a folder with ``stage1_train.zip`` and ``stage1_test.zip`` (their members with or
    without a ``stage1_train/`` level), the same unpacked into folders, or one big zip of the folders.
    """

    def fetch(self) -> None:
        """Check that the files are there; nothing is fetched, as the competition's data needs an account."""
        if not self.root.exists():
            raise UserError(
                f"no competition data at {self.root}; run ./run.sh download, "
                "or name its place: ./run.sh prepare data.root=FOLDER (or data=demo for drawn images)"
            )

    def items(self, split: Split) -> list[Dsb2018Item]:
        """Return all images of ``split``, sorted by ImageId.

        Raises:
            UserError: there are none, an image lacks its file, or masks lack an image.
        """
        stem = f"stage1_{split}"
        if self.root.is_file():
            items = _items_of_zip(self.root, split, stem)
        elif (self.root / stem).is_dir():
            files = (self.root / stem).glob("*/*/*")
            items = _group((str(f) for f in files if _is_png(f.parts)), split, None)
        elif (self.root / f"{stem}.zip").is_file():
            items = _items_of_zip(self.root / f"{stem}.zip", split, "")
        else:
            raise UserError(f"{self.root} has neither {stem}.zip nor a folder {stem}; run ./run.sh download")
        if not items:
            raise UserError(
                f"{self.root} holds no {stem} images (ImageId/images/ImageId.png); download it again"
            )
        return sorted(items, key=lambda item: item.image_id)


def _is_png(parts: tuple[str, ...]) -> bool:
    """Return whether a path is a PNG, and none of the files that macOS leaves beside others."""
    return parts[-1].lower().endswith(".png") and not parts[-1].startswith(".") and "__MACOSX" not in parts


def _items_of_zip(archive: Path, split: Split, level: str) -> list[Dsb2018Item]:
    """Return the images in a zip; ``level`` is a folder that must be above them, or empty."""

    def is_wanted(parts: tuple[str, ...]) -> bool:
        return len(parts) >= 3 and _is_png(parts) and (not level or level in parts[:-3])

    names = _open(str(archive), os.getpid()).namelist()
    return _group((n for n in names if is_wanted(PurePosixPath(n).parts)), split, str(archive))


def _group(files: Iterable[str], split: Split, archive: str | None) -> list[Dsb2018Item]:
    """Group the files ``ImageId/images/*`` and ``ImageId/masks/*`` by image."""
    images: dict[str, list[str]] = defaultdict(list)
    masks: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
        image_id, folder, _ = PurePosixPath(file).parts[-3:]
        if folder in ("images", "masks"):
            (images if folder == "images" else masks)[image_id].append(file)
    if lost := sorted(set(masks) - set(images)):
        raise UserError(f"{lost[0]} has masks but no image ({len(lost)} such); download the data again")
    return [Dsb2018Item(i, split, _image_of(i, images[i]), tuple(masks[i]), archive) for i in images]


def find_test_images(root: Path) -> list[Dsb2018Item]:
    """Return the test images under ``root``, sorted by ImageId; none where the folder or zip is empty.

    Unlike ``Dsb2018.items`` this takes files in any state, as each image needs a row in the submission.
    ``root`` is a folder with ``stage1_test/ID/images/ID.png`` or ``stage1_test.zip``, as the competition's.

    Raises:
        UserError: there is neither, or the zip is damaged.
    """
    folder, archive = root / "stage1_test", root / "stage1_test.zip"
    if folder.is_dir():
        ids = sorted(path.name for path in folder.iterdir() if path.is_dir())
        return [Dsb2018Item(i, "test", _image_file(folder / i)) for i in ids]
    if not archive.is_file():
        raise UserError(f"{root} has neither stage1_test.zip nor a folder stage1_test")
    names = (n for n in _open(str(archive), os.getpid()).namelist() if "__MACOSX" not in n.split("/"))
    images = (n for n in names if PurePosixPath(n).match("*/images/[!.]*.*"))
    return sorted(_group(images, "test", str(archive)), key=lambda item: item.image_id)


def _image_of(image_id: str, files: Iterable[str]) -> str:
    """Return which file is the image: one with the ImageId as its name, if any, of those that can be read."""

    def rank(file: str) -> tuple[bool, bool, str]:
        path = PurePosixPath(file)
        return path.suffix.lower() not in SUFFIXES, path.stem != image_id, file

    return min(files, key=rank)


def _image_file(folder: Path) -> str:
    """Return the image of an ImageId's folder, or the path it should have where there is none."""
    files = (folder / "images").glob("[!.]*.*")
    return _image_of(folder.name, [str(f) for f in files] or [str(folder / "images" / f"{folder.name}.png")])


def read_or_warn(item: Dsb2018Item) -> np.ndarray | None:
    """Decode an image, ``uint8 (H, W)`` or RGB ``(H, W, 3)``; print a warning and return None on failure."""
    try:
        return item.read_image()
    except (UserError, OSError, cv2.error) as e:
        reason = " ".join(str(e).split())
        print(f"warning: {item.image_id} cannot be read and gets an empty row: {reason}", file=sys.stderr)
        return None
