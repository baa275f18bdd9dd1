"""The store: one zip file of losslessly compressed images and label maps, with an index.

Members: ``index.csv``, ``image/ID.webp`` (lossless), ``labels/ID.png`` (16 bit). Every member
carries the zip's CRC-32, checked when it is read, so damage is noticed; any unzip program opens the file.

OpenCV and Pillow are imported where pixels are coded, so that the index alone is read at once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.sources import SPLITS, Item, Source, Split
from nuclei.errors import UserError
from nuclei.progress import parallel_map, track

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError)
"""Exceptions that reading a damaged zip file raises."""
WEBP_SIDE = 16383
"""Most pixels along a side of an image in WebP."""
COLUMNS = ("ImageId", "split", "height", "width", "channels", "nuclei", "modality", "parent", "classes")
DAMAGED = "{path} is damaged at {member}; delete it and run ./run.sh prepare data={path.stem}"


@dataclass(frozen=True)
class StoreRow:
    """What the index says of an image, with the number of its nuclei; see ``Item`` for the other columns."""

    image_id: str
    split: Split
    height: int
    width: int
    channels: int
    nuclei: int
    modality: str
    parent: str
    classes: tuple[int, ...] = ()


Entry = tuple[StoreRow, bytes, bytes | None]
"""A row of the index, the encoded image, and the encoded labels of training images."""


def prepare(source: Source, path: str | Path, workers: int) -> Counter[str]:
    """Read every image and mask of ``source`` and write the store; print which ones cannot be read.

    Returns:
        Counts: ``train``, ``test`` and ``nuclei``, images ``left out``, and of each rule that masks needed
        (see ``nuclei.data.sources.dsb2018.merge_masks``).

    Raises:
        UserError: no training image has a nucleus, or none can be read.
    """
    source.fetch()
    items = [item for split in SPLITS for item in source.items(split)]
    counts: Counter[str] = Counter()

    def entries() -> Iterator[Entry]:
        results = parallel_map(encode_or_explain, items, workers)
        for item, result in zip(items, track(results, "prepare", len(items)), strict=True):
            if isinstance(result, str):
                counts["left out"] += 1
                if counts["left out"] == len(items):
                    raise UserError(f"none of the {len(items)} images in {source.root} can be read: {result}")
                print(f"left out: {item.split} image {item.image_id}: {result}", file=sys.stderr)
                continue
            entry, corrections = result
            counts.update(corrections)
            counts[entry[0].split] += 1
            counts["nuclei"] += entry[0].nuclei
            yield entry
        if counts["train"] and not counts["nuclei"]:
            raise UserError(f"none of the {counts['train']} training images in {source.root} has a nucleus")

    write_store(path, entries(), source.state())
    return counts


def encode_or_explain(item: Item) -> tuple[Entry, Counter[str]] | str:
    """Return what ``encode_item`` returns, or in one line why the image or one of its masks is no use."""
    try:
        return encode_item(item)
    except (UserError, OSError) as e:
        return " ".join(str(e).split())


def encode_item(item: Item) -> tuple[Entry, Counter[str]]:
    """Return an image as it is stored, and counts of the rules that its masks needed."""
    image = item.read_image()
    height, width = image.shape[:2]
    counts: Counter[str] = Counter()
    labels = item.read_labels((height, width), counts) if item.split == "train" else None
    row = StoreRow(
        image_id=item.image_id,
        split=item.split,
        height=height,
        width=width,
        channels=1 if image.ndim == 2 else 3,
        nuclei=0 if labels is None else int(labels.max()),
        modality=item.modality(image),
        parent=item.parent,
        classes=() if labels is None else tuple(item.classes(labels)),
    )
    return (row, encode_image(image), None if labels is None else encode_labels(labels)), counts


def encode_image(image: np.ndarray) -> bytes:
    """Encode ``uint8 (H, W)`` or ``(H, W, 3)`` as lossless WebP; method 2 balances time and size.

    Raises:
        UserError: the image is larger than WebP allows.
    """
    from PIL import Image

    if max(image.shape[:2]) > WEBP_SIDE:
        raise UserError(
            f"{image.shape[1]} × {image.shape[0]} pixels: at most {WEBP_SIDE} a side are kept; cut it up"
        )
    out = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(out, "webp", lossless=True, quality=50, method=2)
    return out.getvalue()


def encode_labels(labels: np.ndarray) -> bytes:
    """Encode an ``int32 (H, W)`` label map of at most 65,535 nuclei as 16-bit PNG."""
    import cv2

    if labels.max(initial=0) > 65535:
        raise UserError(f"a label map with {labels.max()} nuclei; at most 65535 are kept in one image")
    return cv2.imencode(".png", labels.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()


def write_store(path: str | Path, entries: Iterable[Entry], state: str = "") -> None:
    """Write a store, completely or not at all; the same entries, training images first, give the same bytes.

    The zip's comment is the ``Source.state``.
    """
    index = io.StringIO()
    table = csv.writer(index, lineterminator="\n")
    table.writerow(COLUMNS)
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as z:
        z.comment = state.encode()
        for row, image, labels in entries:
            table.writerow((asdict(row) | {"classes": " ".join(map(str, row.classes))}).values())
            z.writestr(zipfile.ZipInfo(f"image/{row.image_id}.webp"), image)
            if labels is not None:
                z.writestr(zipfile.ZipInfo(f"labels/{row.image_id}.png"), labels)
        z.writestr(zipfile.ZipInfo("index.csv"), index.getvalue())


def read_index(path: str | Path) -> list[StoreRow]:
    """Read the index of a store, and nothing else of the file.

    Raises:
        UserError: the store is missing, damaged or of another form.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no store at {path}; run ./run.sh prepare data={path.stem}")
    try:
        with zipfile.ZipFile(path) as z:
            header, *lines = csv.reader(io.StringIO(z.read("index.csv").decode()))
        if tuple(header) != COLUMNS:
            raise ValueError("other columns")
        return [_parse(line) for line in lines]
    except (*ZIP_ERRORS, OSError) as e:
        raise UserError(DAMAGED.format(path=path, member="index.csv")) from e


def _parse(line: list[str]) -> StoreRow:
    """Return a line of ``index.csv`` as a row."""
    image_id, split, height, width, channels, nuclei, modality, parent, classes = line
    known_split = SPLITS[SPLITS.index(split)]
    sizes = int(height), int(width), int(channels), int(nuclei)
    return StoreRow(image_id, known_split, *sizes, modality, parent, tuple(map(int, classes.split())))


class Store:
    """Random access to the images of a file that ``prepare`` wrote; ``index`` has a row for each.

    Raises:
        UserError: the file is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = read_index(path)
        self._rows = {row.image_id: row for row in self.index}
        self._zip: zipfile.ZipFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}  # each process opens the file itself

    @property
    def state(self) -> str:
        """State of the source's files when the store was made; see ``Source.state``."""
        with zipfile.ZipFile(self.path) as z:
            return z.comment.decode()

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        with open(self.path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()

    def ids(self, split: Split) -> list[str]:
        """Return the ImageIds of ``train`` or ``test``, in the order of the index."""
        return [row.image_id for row in self.index if row.split == split]

    def row(self, image_id: str) -> StoreRow:
        """Return the index row of an image."""
        try:
            return self._rows[image_id]
        except KeyError:
            raise UserError(
                f"image {image_id} is not in {self.path}; was it prepared from other data?"
            ) from None

    def image(self, image_id: str) -> np.ndarray:
        """Return ``uint8 (H, W)``, or RGB ``(H, W, 3)`` for colour images."""
        is_grey = self.row(image_id).channels == 1
        image = self._decode(f"image/{image_id}.webp")
        return np.ascontiguousarray(image[..., 0] if is_grey else image[..., ::-1])

    def labels(self, image_id: str) -> np.ndarray:
        """Return ``int32 (H, W)``: 0 background, 1..N nuclei; of training images only."""
        if self.row(image_id).split != "train":
            raise UserError(f"image {image_id} is a test image; its nuclei are not known")
        return self._decode(f"labels/{image_id}.png").astype(np.int32)

    def classes(self, image_id: str) -> np.ndarray:
        """Return the class of each label, ``uint8 (N + 1,)``, 0 for the background; all 0 without classes."""
        row = self.row(image_id)
        return np.array([0, *(row.classes or [0] * row.nuclei)], np.uint8)

    def _decode(self, member: str) -> np.ndarray:
        import cv2

        try:
            self._zip = self._zip or zipfile.ZipFile(self.path)
            data = np.frombuffer(self._zip.read(member), np.uint8)
            if (pixels := cv2.imdecode(data, cv2.IMREAD_UNCHANGED)) is None:
                raise ValueError("no image")
        except ZIP_ERRORS as e:
            raise UserError(DAMAGED.format(path=self.path, member=member)) from e
        return pixels
