"""The store: one zip file of losslessly compressed images and label maps, with an index.

Members: ``index.csv``, ``image/ID.webp`` (lossless), ``labels/ID.png`` (16 bit). Every member
carries the zip's CRC-32, checked when it is read, so damage is noticed; any unzip program opens it.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from nuclei.atomic import atomic_write
from nuclei.data.sources.dsb2018 import Split
from nuclei.errors import UserError

COLUMNS = ("ImageId", "split", "height", "width", "channels", "nuclei", "modality", "parent", "classes")


def encode_image(a: np.ndarray) -> bytes:
    """Lossless WebP of ``uint8 (H, W)`` or ``(H, W, 3)``; method 2 is the knee of time against size."""
    out = io.BytesIO()
    Image.fromarray(a).convert("RGB").save(out, "webp", lossless=True, quality=50, method=2)
    return out.getvalue()


def encode_labels(labels: np.ndarray) -> bytes:
    """16-bit PNG of an ``int32 (H, W)`` label map of at most 65,535 nuclei."""
    if labels.max(initial=0) > 65535:
        raise UserError(f"a label map with {labels.max()} nuclei; at most 65535 are kept in one image")
    return cv2.imencode(".png", labels.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()


def write_store(path: str | Path, rows: Iterable[tuple[dict[str, Any], bytes, bytes | None]]) -> None:
    """Write a store whole or not at all.

    Args:
        path: the file.
        rows: for each image its index row (see ``COLUMNS``), encoded image, encoded labels or None.
    """
    index = io.StringIO()
    table = csv.DictWriter(index, COLUMNS, lineterminator="\n")
    table.writeheader()
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as z:
        for row, image, labels in rows:
            table.writerow(row)
            z.writestr(_member("image", row["ImageId"]), image)
            if labels is not None:
                z.writestr(_member("labels", row["ImageId"]), labels)
        z.writestr(zipfile.ZipInfo("index.csv"), index.getvalue())


def _member(kind: str, image_id: str) -> zipfile.ZipInfo:
    """A member without a date, so that the same data give the same bytes."""
    return zipfile.ZipInfo(f"{kind}/{image_id}.{'webp' if kind == 'image' else 'png'}")


class Store:
    """Random access to a store.

    Args:
        path: the file that ``prepare`` wrote.

    Raises:
        UserError: it is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no store at {path}; run ./run.sh prepare data={self.path.stem}")
        self._zip: zipfile.ZipFile | None = None
        text = self._read("index.csv").decode()
        self.index: list[dict[str, Any]] = [_typed(row) for row in csv.DictReader(io.StringIO(text))]
        self._row = {row["ImageId"]: row for row in self.index}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}  # each process opens the file itself

    def __len__(self) -> int:
        return len(self.index)

    def ids(self, split: Split) -> list[str]:
        """ImageIds of ``train`` or ``test``, sorted."""
        return [row["ImageId"] for row in self.index if row["split"] == split]

    def row(self, image_id: str) -> dict[str, Any]:
        """The index row of an image: height, width, nuclei, modality …"""
        try:
            return self._row[image_id]
        except KeyError:
            raise UserError(
                f"image {image_id} is not in {self.path}; was it prepared from other data?"
            ) from None

    def image(self, image_id: str) -> np.ndarray:
        """``uint8 (H, W)``, or RGB ``(H, W, 3)`` for colour images."""
        grey = self.row(image_id)["channels"] == 1
        a = self._decode(f"image/{image_id}.webp", cv2.IMREAD_COLOR)
        return np.ascontiguousarray(a[..., 0] if grey else a[..., ::-1])

    def labels(self, image_id: str) -> np.ndarray:
        """``int32 (H, W)``: 0 background, 1..N nuclei. Training images only."""
        if self.row(image_id)["split"] != "train":
            raise UserError(f"image {image_id} is a test image; its nuclei are not known")
        return self._decode(f"labels/{image_id}.png", cv2.IMREAD_UNCHANGED).astype(np.int32)

    def classes(self, image_id: str) -> np.ndarray:
        """``uint8 (N + 1,)``: the class of each label, 0 for the background; all 0 without classes."""
        row = self.row(image_id)
        found = [int(word) for word in row.get("classes", "").split()]
        return np.array([0, *(found or [0] * row["nuclei"])], np.uint8)

    def _decode(self, member: str, flags: int) -> np.ndarray:
        a = cv2.imdecode(np.frombuffer(self._read(member), np.uint8), flags)
        if a is None:
            raise self._damaged(member)
        return a

    def _read(self, member: str) -> bytes:
        try:
            self._zip = self._zip or zipfile.ZipFile(self.path)
            return self._zip.read(member)
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as e:
            raise self._damaged(member) from e

    def _damaged(self, member: str) -> UserError:
        return UserError(
            f"{self.path} is damaged at {member}; delete it and run ./run.sh prepare data={self.path.stem}"
        )


def _typed(row: dict[str, str]) -> dict[str, Any]:
    return {k: int(v) if k in ("height", "width", "channels", "nuclei") else v for k, v in row.items()}
