"""Find the intensities of nuclei in an image of unknown origin: channel, colour map and range of values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import cv2
import numpy as np
from scipy.spatial import KDTree

from nuclei.data.preprocessing import Transform, choose_8_bits

MAPS = (
    *("jet", "turbo", "viridis", "plasma", "inferno", "magma", "parula", "cividis", "rainbow", "hot", "fire"),
    *("autumn", "winter", "spring", "summer", "cool", "deepgreen"),
)
"""Colour maps, as OpenCV, Matplotlib and ImageJ call them; none is a scale of one colour, or like stains."""
FIRE = (
    (0, 0, 1, 25, 49, 73, 98, 122, 146, 162, 173, 184, 195, 207, 217, 229, 240, 252, *[255] * 14),
    (*[0] * 13, 14, 35, 57, 79, 101, 117, 133, 147, 161, 175, 190, 205, 219, 234, 248, *[255] * 4),
    (0, 61, 96, 130, 165, 192, 220, 227, 210, 181, 151, 122, 93, 64, 35, 5, *[0] * 11, 35, 98, 160, 223, 255),
)
"""Red, green and blue of ImageJ's map, at 32 places of the same distance."""
SAMPLE = 1_000
"""Pixels by which the colours of an image are judged."""
NEAR = 12.0
"""Distance of RGB values up to which a colour is one of a map's, or grey."""
COLOURED = 0.2
"""Share of pixels that must not be grey."""
SHARE = 0.8
"""Share of these that must have a map's colours: less than 0.1 of stained tissue have, 0.9 of JPEG files."""
SPREAD = 110
"""Levels, of 256, that they must cover."""
SQUEEZED = 6
"""How many times farther than nuclei saturated pixels reach where they hide them."""
SATURATED = 0.004
"""Share of saturated pixels from which on they set the range of an image."""
LEAST_FILL = 999
"""Least distance below 0 of a number that may stand for no value, such as -9999 and -32768."""
HUGE_FILL = 1e20
"""Least number above 0 that may."""
LIKE_NUCLEI = 0.12
"""What ``objects_like_nuclei`` says of nuclei at least; of diffuse light and of noise it says half of it."""
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
    step = max(1, int((image.shape[0] * image.shape[1] / SAMPLE) ** 0.5))
    pixels = image[::step, ::step].reshape(-1, 3)
    coloured = pixels[np.ptp(pixels, axis=1) > NEAR]  # black, white and grey prove no map
    if not len(pixels) or len(coloured) < COLOURED * len(pixels):
        return None
    best, found = SHARE, None
    for name in MAPS:
        distances, levels = _colours(name).query(coloured)
        near = distances < NEAR
        if near.mean() > best and np.ptp(np.percentile(levels[near], (1, 99))) > SPREAD:
            best, found = near.mean(), (partial(intensities, name=name), name)
    return found


def intensities(image: np.ndarray, name: str) -> np.ndarray:
    """Return the place of each pixel's colour in a map, ``uint8 (H, W)``, of RGB ``uint8 (H, W, 3)``."""
    packed = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, places = np.unique(packed, return_inverse=True)
    unpacked = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    return _colours(name).query(unpacked)[1].astype(np.uint8)[places].reshape(image.shape[:2])


@cache
def _colours(name: str) -> KDTree:
    """Return the 256 RGB colours of a map, to be searched."""
    if name == "fire":
        return KDTree(np.stack([np.interp(np.linspace(0, 31, 256), range(32), c) for c in FIRE], axis=1))
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return KDTree(cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{name.upper()}"))[:, 0, ::-1])


def find_fill_values(image: np.ndarray) -> list[float]:
    """Return the numbers that stand for no value: the extremes, where they lie far from the rest.

    Args:
        image: of any shape, or a sample of its pixels; only floats have such numbers.

    >>> find_fill_values(np.array([-9999, 0.1, 0.5, 0.9])), find_fill_values(np.array([-0.2, 0.1, 0.5, 0.9]))
    ([-9999.0], [])
    """
    if image.dtype.kind != "f":
        return []
    known, found = image[np.isfinite(image)].astype(float), []
    for extreme in (np.max, np.min):
        if not known.size:
            break
        value = float(extreme(known))
        rest = known[known != value]
        low, high = np.percentile(rest, (0.5, 99.5)).tolist() if rest.size else (value, value)
        is_far = 0 < high - low < max(low - value, value - high)
        if is_far and not -LEAST_FILL < value < HUGE_FILL:
            found.append(value)
            known = rest
    return found


def choose_grey_levels(image: np.ndarray) -> tuple[Transform, str]:
    """Decide as ``choose_8_bits`` does, but leave out saturated pixels that hide what looks like nuclei.

    Debris and hot pixels at the end of the scale squeeze everything else into a few grey levels. Saturated
    nuclei leave nothing that looks like nuclei when they and their blurred edges are taken away.

    Args:
        image: ``(H, W)`` or RGB ``(H, W, 3)`` of any type; a sample of its pixels will do.

    Returns:
        From any part of the image to ``uint8`` of its shape, and a warning.
    """
    convert, warning = choose_8_bits(image)
    image = image if image.ndim == 2 else image.max(axis=2)
    if not image.size or image.dtype == bool or not (finite := np.isfinite(image)).any():
        return convert, warning
    brightest = image[finite].max()
    saturated = (image == brightest).astype(np.uint8)
    if saturated.mean() < SATURATED:
        return convert, warning
    blobs = cv2.morphologyEx(saturated, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    hidden = saturated | cv2.dilate(blobs, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    others = image[(hidden == 0) & finite]
    if not others.size:
        return convert, warning
    middle, above = (float(p) for p in np.percentile(others, (50, 99.5)))
    if SQUEEZED * (above - middle) > float(brightest) - middle:
        return convert, warning
    rest = np.where(hidden, others.dtype.type(middle), image)
    # 8 bits would stay as they are.
    convert_rest, _ = choose_8_bits(rest.astype(np.uint16) if rest.dtype == np.uint8 else rest)
    _, likeness, count = objects_like_nuclei(convert_rest(rest))
    if likeness < LIKE_NUCLEI or count < 2:
        return convert, warning
    n = int(saturated.sum())
    said = f"{n} saturated pixels that hid the others were clipped"
    return convert_rest, f"{warning}; {said}" if warning else said


def most_nuclear(channels: Sequence[np.ndarray]) -> int:
    """Return which of several channels looks most like nuclei: compact, sharply bounded objects.

    Membranes are thin, spots and noise do not survive an opening, cytoplasm is diffuse, has holes, or is as
    sharp but holds an object of another channel in each of its own. The first channel is left only for one
    that looks clearly better, with half as many objects at least, or that it holds.

    Args:
        channels: ``(H, W)`` each, of any real type; nuclei are brighter than the ground.
    """
    objects, likeness, counts = zip(*map(objects_like_nuclei, channels), strict=True)

    def holds(outer: int, inner: int) -> bool:
        """Return whether nearly every object of a channel has one of another channel in it, as likely."""
        n, numbered = cv2.connectedComponents(objects[outer].astype(np.uint8))
        areas = np.bincount(numbered.ravel(), minlength=n)[1:]
        shared = np.bincount(numbered[objects[inner]], minlength=n)[1:]
        inside = shared / np.maximum(areas, 1)
        filled = np.mean((inside > 0.25) & (inside < 0.8)) if n > 1 else 0.0
        return bool(filled > 0.75) and likeness[inner] > likeness[outer] / 2

    nuclear = [n for n in range(len(channels)) if not any(holds(n, inner) for inner in range(len(channels)))]
    nuclear = nuclear or [0]
    best = max(nuclear, key=lambda n: likeness[n])
    clearly = likeness[best] > CLEARLY * likeness[0] and counts[best] >= max(2, counts[0] / 2)
    return best if 0 not in nuclear or clearly else 0


def objects_like_nuclei(channel: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Find Otsu's foreground, and say how much it looks like nuclei.

    Returns:
        Its convex hulls, ``bool (H, W)``; how much they look like nuclei: the square of the share of them
        that is compact foreground, times the steepness of the outline, the part of the contrast from one
        pixel to the next; and the number of compact objects, 0 where most of the foreground is none.
    """
    grey = choose_8_bits(channel)[0](channel)
    grey = grey if grey.ndim == 2 else grey.max(axis=2)
    if not grey.size:
        return grey.astype(bool), 0.0, 0
    smooth = cv2.GaussianBlur(grey, (0, 0), 1)
    _, mask = cv2.threshold(smooth, 0, 1, cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hulls = np.zeros_like(mask)
    for outline in outlines:
        cv2.fillConvexPoly(hulls, cv2.convexHull(outline), 1)
    compact = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
    if not edge.any() or not compact.any():
        return hulls.astype(bool), 0.0, 0
    values = smooth.astype(np.float32)
    rise = np.hypot(cv2.Sobel(values, -1, 1, 0, scale=1 / 8), cv2.Sobel(values, -1, 0, 1, scale=1 / 8))
    contrast = values[mask == 1].mean() - values[mask == 0].mean()
    share = compact.sum() / hulls.sum()
    count = cv2.connectedComponents(compact)[0] - 1 if share > 0.3 else 0
    return hulls.astype(bool), float(share**2 * rise[edge].mean() / contrast), count
