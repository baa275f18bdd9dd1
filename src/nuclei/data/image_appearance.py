"""What an image of unknown origin shows: its nuclear channel, colours of a plot, and scale bars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import cv2
import numpy as np
from scipy.spatial import KDTree

from nuclei.data.preprocessing import Transform, choose_8_bits

MAPS = ("jet", "turbo", "viridis", "plasma", "inferno", "magma", "parula", "cividis", "hot", "rainbow")
"""Names of colour maps, as OpenCV and Matplotlib call them."""
SAMPLE = 1_000
"""Pixels by which an image is judged."""
NEAR = 12.0
"""Distance of RGB values up to which a colour is one of a map's."""
SHARE = 0.8
"""Share of pixels that must have a map's colours: less than 0.1 of stained tissue have, 0.9 of JPEG files."""
SPREAD = 110
"""Levels, of 256, that they must cover; the darkest part of some maps is the scale of one colour."""
COLOURED = 0.2
"""Share of pixels that must differ from grey by more than ``NEAR``."""
BAR = 15
"""Length in pixels of the shortest scale bar."""
CLEARLY = 1.25
"""How many times more like nuclei a channel must look to be taken in place of the first."""


def find_colour_map(image: np.ndarray) -> tuple[Transform, str] | None:
    """Find the colour map in which an image was saved.

    Args:
        image: RGB ``uint8 (H, W, 3)``, or a sample of its pixels.

    Returns:
        From any part of the image to its intensities ``uint8 (h, w)``, and the map's name; None for other
        images, such as stained tissue.
    """
    pixels = image.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // SAMPLE)]
    if not len(pixels) or np.mean(np.ptp(pixels, axis=1) > NEAR) < COLOURED:
        return None
    for name in MAPS:
        distances, levels = _colours(name).query(pixels)
        if np.mean(distances < NEAR) > SHARE and np.ptp(np.percentile(levels, (1, 99))) > SPREAD:
            return partial(intensities, name=name), name
    return None


def intensities(image: np.ndarray, name: str) -> np.ndarray:
    """Return the place of each pixel's colour in a map, ``uint8 (H, W)``, of RGB ``uint8 (H, W, 3)``."""
    packed = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, places = np.unique(packed, return_inverse=True)
    unpacked = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    return _colours(name).query(unpacked)[1].astype(np.uint8)[places].reshape(image.shape[:2])


@cache
def _colours(name: str) -> KDTree:
    """Return the 256 RGB colours of a map, to be searched."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return KDTree(cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{name.upper()}"))[:, 0, ::-1])


def paint_out_scale_bars(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Replace scale bars that were burnt into an image by what surrounds them.

    A bar is a rectangle of the image's greatest value without a single other pixel, at least ``BAR`` pixels
    long and three times as long as wide, as no nucleus is.

    Args:
        image: ``uint8 (H, W)``.

    Returns:
        The image, copied if it has bars, and their number.
    """
    if not image.size:  # OpenCV crashes
        return image, 0
    plateau = (image == image.max()).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(plateau, connectivity=8)
    length, width = stats[1:, 2:4].max(axis=1, initial=0), stats[1:, 2:4].min(axis=1, initial=2**31 - 1)
    bars = stats[1:][(stats[1:, 4] == length * width) & (length >= BAR) & (width > 1) & (length >= 3 * width)]
    painted = image.copy() if len(bars) else image
    for x, y, columns, rows, _ in bars:
        around = image[max(0, y - 2) : y + rows + 2, max(0, x - 2) : x + columns + 2]
        painted[y : y + rows, x : x + columns] = np.median(around[around < image.max()])
    return painted, len(bars)


def most_nuclear(channels: Sequence[np.ndarray]) -> int:
    """Return which of several channels looks most like nuclei: compact, sharply bounded objects.

    Membranes are thin, spots and noise do not survive an opening, cytoplasm is diffuse, has holes, or is as
    sharp but holds the objects of another channel. The first channel is left only for a clearly better one.

    Args:
        channels: ``(H, W)`` each, of any real type; nuclei are brighter than the ground.
    """
    objects, likeness = zip(*map(_objects_like_nuclei, channels), strict=True)

    def holds(outer: int, inner: int) -> bool:
        """Return whether the objects of a channel have those of another one in them, which are as likely."""
        common = np.count_nonzero(objects[outer] & objects[inner])
        size = np.count_nonzero(objects[inner])
        smaller = common > 0.7 * size and size < 0.8 * np.count_nonzero(objects[outer])
        return bool(smaller) and likeness[inner] > likeness[outer] / 2

    nuclear = [n for n in range(len(channels)) if not any(holds(n, inner) for inner in range(len(channels)))]
    best = max(nuclear, key=lambda n: likeness[n])
    return 0 if 0 in nuclear and likeness[best] <= CLEARLY * likeness[0] else best


def _objects_like_nuclei(channel: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the convex hulls of Otsu's foreground, ``bool (H, W)``, and how much it looks like nuclei.

    That is the square of the share of the hulls that is compact foreground, times the steepness of its
    outline: the part of the contrast from one pixel to the next.
    """
    smooth = cv2.GaussianBlur(choose_8_bits(channel)[0](channel), (0, 0), 1)
    _, mask = cv2.threshold(smooth, 0, 1, cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    for outline in outlines:
        cv2.fillConvexPoly(filled, cv2.convexHull(outline), 1)
    compact = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
    if not edge.any() or not compact.any():
        return filled.astype(bool), 0.0
    values = smooth.astype(np.float32)
    rise = np.hypot(cv2.Sobel(values, -1, 1, 0, scale=1 / 8), cv2.Sobel(values, -1, 0, 1, scale=1 / 8))
    contrast = values[mask == 1].mean() - values[mask == 0].mean()
    share = compact.sum() / filled.sum()
    return filled.astype(bool), float(share**2 * rise[edge].mean() / contrast)
