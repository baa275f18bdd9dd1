"""From the bytes of a PNG, JPEG or TIFF to arrays; from mask files to a label map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import cv2
import numpy as np

from nuclei.errors import UserError


def image(data: bytes, name: str) -> np.ndarray:
    """Decode an image: ``uint8 (H, W)`` when its channels agree, else RGB ``uint8 (H, W, 3)``.

    Alpha is dropped. 16-bit images are scaled linearly so that their range fills 8 bits.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file to name in the message.
    """
    a = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if a is None:
        raise UserError(f"{name} is damaged or no image; replace it or download the data again")
    return to_8_bit(a)


def pages(data: bytes, name: str) -> list[np.ndarray]:
    """Decode every page of an image file, each as ``image`` does; only TIFF has several.

    Raises:
        UserError: ``data`` is no image; ``name`` is the file to name in the message.
    """
    whole, found = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else (0, ())
    if not whole or not found:
        raise UserError(f"{name} is damaged or no image; expected PNG, JPEG or TIFF")
    return [to_8_bit(a) for a in found]


def to_8_bit(a: np.ndarray) -> np.ndarray:
    """Bring what OpenCV decoded, BGR of any depth, to the form that ``image`` describes."""
    if a.dtype != np.uint8:
        low, high = float(a.min()), float(a.max())
        a = ((a - low) * (255.0 / ((high - low) or 1.0))).round().astype(np.uint8)
    if a.ndim == 2:
        return a
    if a.shape[2] == 2:  # grey and alpha
        return np.ascontiguousarray(a[..., 0])
    b, g, r = a[..., 0], a[..., 1], a[..., 2]
    if np.array_equal(b, g) and np.array_equal(b, r):
        return np.ascontiguousarray(b)
    return np.ascontiguousarray(a[..., 2::-1])


def labels(masks: Iterable[tuple[str, bytes]], shape: tuple[int, int], counts: Counter[str]) -> np.ndarray:
    """Merge one mask file for each nucleus into a label map.

    The rules, each counted in ``counts``: ``empty`` masks are left out; masks of ``another size``
    than the image are left out; where masks ``overlap``, the smaller nucleus keeps the pixels
    (the larger would swallow it); a mask in ``several pieces`` stays one nucleus, as in the truth
    that the competition scores against; a nucleus ``covered`` by smaller ones wholly is left out.

    Args:
        masks: (file name, bytes) of each; any value above 0 is the nucleus.
        shape: (H, W) of the image.
        counts: added to.

    Returns:
        ``int32 (H, W)``, 0 is background, 1..N the nuclei in the order of the files.
    """
    kept: list[tuple[int, np.ndarray]] = []
    for name, data in masks:
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        if mask is None:
            raise UserError(f"mask {name} is damaged or no image; replace it or download the data again")
        if mask.shape != shape:
            counts["of another size"] += 1
            continue
        pixels = np.flatnonzero(mask)
        if not pixels.size:
            counts["empty"] += 1
            continue
        y, x, h, w = _box(pixels, shape[1])
        counts["in several pieces"] += (
            cv2.connectedComponents(mask[y : y + h, x : x + w], connectivity=8)[0] > 2
        )
        kept.append((len(kept) + 1, pixels))
    flat = np.zeros(shape[0] * shape[1], np.int32)
    for label, pixels in sorted(kept, key=lambda k: -k[1].size):
        counts["overlapping"] += bool(flat[pixels].any())
        flat[pixels] = label
    left, dense = np.unique(flat, return_inverse=True)
    lost = len(kept) - int((left > 0).sum())
    counts["covered"] += lost
    out = flat if not lost else (dense.reshape(-1) + (left[0] != 0)).astype(np.int32)
    return out.reshape(shape)


def _box(pixels: np.ndarray, width: int) -> tuple[int, int, int, int]:
    """Bounding box (y, x, h, w) of sorted flat pixel numbers."""
    y0, y1 = int(pixels[0]) // width, int(pixels[-1]) // width
    x = pixels % width
    x0, x1 = int(x.min()), int(x.max())
    return y0, x0, y1 - y0 + 1, x1 - x0 + 1
