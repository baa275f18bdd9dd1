"""The 2018 Data Science Bowl's files, in any of the forms in which Kaggle and its users keep them."""

from __future__ import annotations

import os
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from nuclei.data import image_decoding as decode
from nuclei.data.preprocessing import modality
from nuclei.errors import UserError

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Item:
    """One image of a source: where its picture and its masks lie, one mask file for each nucleus."""

    image_id: str
    split: Split
    image: str
    masks: tuple[str, ...] = field(default=())
    archive: str | None = None

    @property
    def parent(self) -> str:
        """The picture that it was cut from: itself."""
        return self.image_id

    def picture(self) -> np.ndarray:
        """``uint8 (H, W)`` or RGB ``(H, W, 3)``."""
        return decode.image(self.read(self.image), self.image)

    def modality(self, picture: np.ndarray) -> str:
        """What kind of microscope it is from."""
        return modality(picture)

    def labels(self, shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
        """``int32 (H, W)``; see ``nuclei.data.image_decoding.labels``."""
        return decode.labels(((m, self.read(m)) for m in self.masks), shape, counts)

    def classes(self, labels: np.ndarray) -> list[int]:
        """None are told apart."""
        return []

    def read(self, member: str) -> bytes:
        """The bytes of one of this item's files, from its zip or its folder."""
        if self.archive is None:
            return Path(member).read_bytes()
        try:
            return _open(self.archive).read(member)
        except zipfile.BadZipFile as e:
            raise UserError(f"{self.archive} is damaged at {member}: {e}; download it again") from e


def _open(archive: str) -> zipfile.ZipFile:
    return _open_in(os.getpid(), archive)


@lru_cache(maxsize=8)
def _open_in(pid: int, archive: str) -> zipfile.ZipFile:
    """One handle for each process: forked ones would share, and move, a single file position."""
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as e:
        raise UserError(f"{archive} is no readable zip: {e}; download it again") from e


class Dsb2018:
    """Reads ``stage1_train`` and ``stage1_test`` from zips or folders below ``root``.

    Accepted: a folder with ``stage1_train.zip`` and ``stage1_test.zip`` (their members with or
    without a ``stage1_train/`` level), the same unpacked into folders, or one big zip of the folders.

    Args:
        root: a folder, or a zip file.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def fetch(self) -> None:
        """Check that the files are there; the competition's data needs an account, so none is fetched.

        Raises:
            UserError: ``root`` holds nothing to read.
        """
        if not self.root.exists():
            raise UserError(
                f"no competition data at {self.root}; run ./run.sh download, "
                "or name its place: ./run.sh prepare data.root=FOLDER (or data=demo for drawn images)"
            )

    def items(self, split: Split) -> list[Item]:
        """All images of ``split``, sorted by ImageId.

        Raises:
            UserError: nothing there, an image without its file, or masks without an image.
        """
        stem = f"stage1_{split}"
        if self.root.is_file():
            found = _from_zip(self.root, split, stem)
        elif (self.root / stem).is_dir():
            found = _from_folder(self.root / stem, split)
        elif (self.root / f"{stem}.zip").is_file():
            found = _from_zip(self.root / f"{stem}.zip", split, "")
        else:
            raise UserError(f"{self.root} has neither {stem}.zip nor a folder {stem}; run ./run.sh download")
        if not found:
            raise UserError(
                f"{self.root} holds no {stem} images (ImageId/images/ImageId.png); download it again"
            )
        return sorted(found, key=lambda item: item.image_id)


def _from_folder(folder: Path, split: Split) -> list[Item]:
    files = (p for p in folder.glob("*/*/*.png"))
    return _group(((p.parts[-3:], str(p)) for p in files), split, None)


def _from_zip(archive: Path, split: Split, stem: str) -> list[Item]:
    def wanted(parts: tuple[str, ...]) -> bool:
        return len(parts) >= 3 and parts[-1].endswith(".png") and (not stem or stem in parts[:-3])

    names = ((PurePosixPath(n).parts, n) for n in _open(str(archive)).namelist())
    return _group(((p[-3:], n) for p, n in names if wanted(p)), split, str(archive))


def _group(files, split: Split, archive: str | None) -> list[Item]:  # type: ignore[no-untyped-def]
    images: dict[str, str] = {}
    masks: dict[str, list[str]] = defaultdict(list)
    for (image_id, kind, _), member in files:
        if kind == "images":
            images[image_id] = member
        elif kind == "masks":
            masks[image_id].append(member)
    if lost := sorted(set(masks) - set(images)):
        raise UserError(f"{lost[0]} has masks but no image ({len(lost)} such); download the data again")
    return [Item(i, split, images[i], tuple(sorted(masks[i])), archive) for i in images]
