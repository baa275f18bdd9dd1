"""Read uploaded files: check their headers before decoding, and delete them afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

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
    """Limits on uploads.

    Attributes:
        megabytes: size of one file.
        megapixels: pixels of all pages of all files together; decoding and segmenting need memory in
            proportion.
        pages: pages of one file.
    """

    megabytes: float
    megapixels: float
    pages: int

    @property
    def size(self) -> int:
        """Greatest size of one file in bytes."""
        return int(self.megabytes * 2**20)


def take(files: Iterable[Path], limits: Limits) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decode uploaded files and remove them, readable or not.

    Returns:
        Each page by a unique name, decoded as by ``nuclei.data.image_io.decode_image``, and a reason for each
        refused file.
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
    """Yield each page of a file with its name; nothing is decoded before the headers' sizes are checked.

    Args:
        file: a file of any name and content.
        limits: limits on the file.
        left: number of pixels that may still be taken.

    Raises:
        UserError: the file is too large, or no image that can be read.
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
    """Return the pages of a file; of an animated PNG only the first frame.

    Raises:
        UserError: the file is cut short, damaged, or of a kind that OpenCV does not know.
    """
    try:
        data = file.read_bytes()
        return decode_pages(data, file.name) if tiff else [decode_image(data, file.name)]
    except (UserError, cv2.error) as e:
        raise UserError(DAMAGED.format(name=file.name)) from e


def declared(file: Path, tiff: bool, max_pages: int) -> float:
    """Return the number of pixels that a file's headers declare.

    Raises:
        UserError: the headers cannot be read, or there are more than ``max_pages`` pages.
    """
    try:
        if not tiff:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return image.width * image.height
        with tifffile.TiffFile(file) as f:
            pages = islice(cast(Sequence[tifffile.TiffPage], f.pages), max_pages + 1)
            sizes = [cost(page) for page in pages]
    except Image.DecompressionBombError:
        return np.inf
    except Exception as e:  # parsers fail in many ways on bytes made to make them fail
        raise UserError(DAMAGED.format(name=file.name)) from e
    if len(sizes) > max_pages:
        raise UserError(f"{file.name} has more than {max_pages} pages; split it")
    return sum(sizes)


def cost(page: tifffile.TiffPage) -> float:
    """Return the pixels of a TIFF's page, more where the page or its tiles take over 16 bytes a pixel."""
    size = page.imagewidth * page.imagelength
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    return max(size, tile) * max(1, page.samplesperpixel * page.bitspersample * page.imagedepth / 128)


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with a number where the name is taken."""
    names = (name, *(f"{name}_{n}" for n in range(2, 10**6)))
    return next(n for n in names if n not in taken)
