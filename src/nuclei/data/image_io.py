"""Image files: which there are, what they are called, and their pixels.

OpenCV decodes TIFF too, since tifffile reads LZW or JPEG compression only with a further package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from nuclei.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def find_images(path: Path) -> dict[str, Path]:
    """Return the image files below ``path``, or ``path`` itself, by ``csv_name``.

    Raises:
        UserError: there is none, or two files have one name.
    """
    if not path.exists():
        raise UserError(f"no file or folder at {path}")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"no images under {path}; expected files that end in {', '.join(SUFFIXES)}")
    images: dict[str, Path] = {}
    for file in files:
        name = csv_name(file)
        if name in images:
            raise UserError(f"{images[name]} and {file} would both be called {name}; rename one of them")
        images[name] = file
    return images


def csv_name(file: Path) -> str:
    """Return a file's name without its suffix, as it can stand in a CSV.

    >>> csv_name(Path("day 1, left.tif"))
    'day_1__left'
    """
    return re.sub(r"[^\w.-]", "_", file.stem)


def read_pages(name: str, file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each page of a file with its name: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.

    Raises:
        UserError: the file cannot be read or is no image.
    """
    try:
        data = file.read_bytes()
    except OSError as e:
        raise UserError(f"cannot read {file}: {e.strerror}") from e
    yield from name_pages(name, decode_pages(data, str(file)))


def name_pages(name: str, pages: list[np.ndarray]) -> Iterable[tuple[str, np.ndarray]]:
    """Pair each page of a file with a name, which has a number when there are several."""
    names = [name] if len(pages) == 1 else [f"{name}_page{n}" for n in range(1, len(pages) + 1)]
    return zip(names, pages, strict=True)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image: ``uint8 (H, W)`` when its channels are equal, else RGB ``uint8 (H, W, 3)``.

    Alpha is dropped. The range of 16-bit and float images is scaled linearly to 0..255.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file named in the message.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise UserError(f"{name} is damaged or no image; replace it or download the data again")
    return _to_8_bit_rgb(image)


def decode_pages(data: bytes, name: str) -> list[np.ndarray]:
    """Decode every page of an image file as ``decode_image`` does; only TIFF has several.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file named in the message.
    """
    complete, pages = (
        cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else (False, ())
    )
    if not complete or not pages:
        raise UserError(f"{name} is damaged or no image; expected PNG, JPEG or TIFF")
    return [_to_8_bit_rgb(page) for page in pages]


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Decode an image to ``uint8 (H, W)``, colours averaged as OpenCV does; not 0 inside the mask.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file named in the message.
    """
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if mask is None:
        raise UserError(f"mask {name} is damaged or no image; replace it or download the data again")
    return mask


def _to_8_bit_rgb(image: np.ndarray) -> np.ndarray:
    """Bring what OpenCV decoded, BGR of any depth, to the form that ``decode_image`` describes."""
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255.0 / ((high - low) or 1.0))).round().astype(np.uint8)
    if image.ndim == 2:
        return image
    if image.shape[2] == 2:  # grey and alpha
        return np.ascontiguousarray(image[..., 0])
    b, g, r = image[..., 0], image[..., 1], image[..., 2]
    if np.array_equal(b, g) and np.array_equal(b, r):
        return np.ascontiguousarray(b)
    return np.ascontiguousarray(image[..., 2::-1])
