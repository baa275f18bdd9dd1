"""What strangers upload: looked into before it is decoded, and removed when it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from nuclei.data.image_io import csv_name, decode_image, decode_pages, name_pages
from nuclei.errors import UserError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OTHERS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
DAMAGED = "{name} is damaged, or of a kind that cannot be decoded"
MANY = "{name} has {n:.1f} megapixels in all its pages; {left:.1f} of the {limit:g} allowed at once are left"


@dataclass(frozen=True)
class Limits:
    """How much is taken at once.

    Attributes:
        megabytes: of one file.
        megapixels: of all pages of all files together; decoding and segmenting need memory in proportion.
        pages: of one file.
    """

    megabytes: float
    megapixels: float
    pages: int

    @property
    def size(self) -> int:
        """Of one file, in bytes."""
        return int(self.megabytes * 2**20)


def take(files: Iterable[Path], limits: Limits) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decode uploaded files and remove them, readable or not.

    Returns:
        Each page, as ``nuclei.data.image_io.decode_image`` gives it, by a name of its own; and for each file
        that was refused the reason.
    """
    pictures: dict[str, np.ndarray] = {}
    refused: list[str] = []
    left = limits.megapixels * 1e6
    for file in files:
        try:
            for name, page in pages(file, limits, left):
                pictures[_free(name, pictures)] = page
                left -= page.shape[0] * page.shape[1]
        except UserError as e:
            refused.append(str(e))
        finally:
            file.unlink(missing_ok=True)
    return pictures, refused


def pages(file: Path, limits: Limits, left: float) -> Iterator[tuple[str, np.ndarray]]:
    """Each page of a file with its name; nothing is decoded before the sizes in its headers are known.

    Args:
        file: of any name and content.
        limits: on its bytes and pages.
        left: pixels that may still be taken.

    Raises:
        UserError: it is too large, or no image that can be read.
    """
    if file.stat().st_size > limits.size:
        raise UserError(
            f"{file.name} has {file.stat().st_size / 2**20:.0f} MB; {limits.megabytes:g} are allowed"
        )
    with open(file, "rb") as f:
        head = f.read(8)
    tiff = head.startswith(TIFF)
    if not tiff and not head.startswith(OTHERS):
        raise UserError(f"{file.name} is no PNG, JPEG or TIFF, whatever its name says")
    pixels = declared(file, tiff, limits.pages)
    if pixels > left:
        raise UserError(MANY.format(name=file.name, n=pixels / 1e6, left=left / 1e6, limit=limits.megapixels))
    yield from name_pages(csv_name(file), decoded(file, tiff))


def decoded(file: Path, tiff: bool) -> list[np.ndarray]:
    """The pages of a file; of an animated PNG the first frame alone, its others are no pages.

    Raises:
        UserError: the file is cut short, damaged, or of a kind that OpenCV does not know.
    """
    try:
        data = file.read_bytes()
        return decode_pages(data, file.name) if tiff else [decode_image(data, file.name)]
    except (UserError, cv2.error) as e:
        raise UserError(DAMAGED.format(name=file.name)) from e


def declared(file: Path, tiff: bool, most: int) -> float:
    """Pixels that a file's headers declare.

    Raises:
        UserError: the headers cannot be read, or there are more than ``most`` pages.
    """
    try:
        if not tiff:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return image.width * image.height
        with tifffile.TiffFile(file) as f:
            sizes = [cost(page) for page in islice(f.pages, most + 1)]  # type: ignore[arg-type]
    except Image.DecompressionBombError:
        return np.inf
    except Exception as e:  # parsers fail in many ways on bytes made to make them fail
        raise UserError(DAMAGED.format(name=file.name)) from e
    if len(sizes) > most:
        raise UserError(f"{file.name} has more than {most} pages; split it")
    return sum(sizes)


def cost(page: tifffile.TiffPage) -> float:
    """Pixels of a TIFF's page; more where it, or the tiles in it, take more than 16 bytes for each."""
    size = page.imagewidth * page.imagelength
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    return max(size, tile) * max(1, page.samplesperpixel * page.bitspersample * page.imagedepth / 128)


def _free(name: str, taken: Iterable[str]) -> str:
    """``name``, with a number where it is taken."""
    names = (name, *(f"{name}_{n}" for n in range(2, 10**6)))
    return next(n for n in names if n not in taken)
