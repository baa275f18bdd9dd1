"""Scale bars, captions, lines and margins that were drawn into an image, and the image without them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse.csgraph import connected_components

MARK_LEVEL = 0.75
"""Share of the greatest value above which a pixel may belong to a mark; JPEG and smooth fonts blur them."""
BAR_LENGTH = 15
"""Length in pixels of the shortest scale bar."""
SMALLEST_LETTER = 5
"""Least height of a letter in pixels."""
LARGEST_LETTER = 120
"""Greatest height of a letter in pixels."""
LETTER_STROKE = 0.45
"""Greatest width of a letter's strokes, as a share of its shorter side; nuclei are thicker."""
LETTER_SOLIDITY = 0.85
"""Greatest share of its convex hull that a letter of several strokes fills."""
MOST_LETTERS = 1500
"""Letters of the longest caption; where there are more pieces they are noise."""
LINE_EXTENT = 30
"""Least extent of frames and arrows in pixels."""
LINE_SHARE = 0.12
"""Greatest width of a line, as a share of its extent."""
LINE_WIDTH = 10
"""Greatest width of a line in pixels."""
MARGIN = 2
"""Value of the pixels of margins in the mask of all marks; those of others are 1."""
MARGIN_DEPTH = 5
"""Depth in pixels of the narrowest margin."""
MARGIN_TOLERANCE = 8
"""Levels by which the pixels of a margin differ at most; JPEG blurs its edge."""
SHORTEST_SIDE = 64
"""Least height and width in pixels of an image in which margins are searched."""
WHITE = 255
"""Colour of the gaps between the pictures of a montage."""
GAP_SHARE = 0.25
"""Greatest width of such a gap, as a share of the image."""
BRIGHT_MEDIAN = 110
"""Least median of a bright image, in which black surroundings are searched."""
BLACK_LEVEL = 8
"""Greatest value of black surroundings."""
STRAIGHT = 0.005
"""Greatest distance of the sides of a rotated picture from straight lines, as a share of their length."""
MOST_SIDES = 8
"""Sides of a rotated picture whose corners are cut off."""
PICTURE_SHARE = 0.25
"""Least share of an image that a rotated picture in it is."""
SURROUNDING_SHARE = 0.01
"""Least share of an image that its surroundings are."""
KINDS = ("scale bar", "caption", "drawn line", "margin")
"""Names of the marks."""


class Marks(NamedTuple):
    """Pixels of what was drawn into an image, ``uint8 (H, W)``, and the number of each kind.

    They are 1, those of margins ``MARGIN``, all others 0.
    """

    mask: np.ndarray
    bars: int
    captions: int
    lines: int
    margins: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found, in words."""
        counts = zip(self[1:], KINDS, strict=True)
        return tuple(f"{n} {word}{'s' * (n > 1)} left out" for n, word in counts if n)


def is_note(text: str) -> bool:
    """Return whether a note on an image says that marks were left out of it, as ``Marks.notes`` do.

    >>> is_note("2 drawn lines left out")
    True
    """
    return bool(re.fullmatch(rf"\d+ ({'|'.join(KINDS)})s? left out", text))


def find_marks(image: np.ndarray) -> Marks:
    """Find white scale bars, captions and lines on a dark ground, black ones on a light one, and margins.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``.
    """
    mask, counts = np.zeros(image.shape[:2], np.uint8), np.zeros(3, int)
    if not image.size or ((image == image.max()) | (image == image.min())).all():  # a mask of nuclei
        return Marks(mask, 0, 0, 0)
    margins, n_margins = find_margins(image)
    image = _filled(image, margins, _ground(image, margins)) if n_margins else image
    for polarised in (image, 255 - image):
        found = find_bright_marks(polarised if image.ndim == 2 else polarised.min(axis=2))
        mask, counts = mask | found.mask, counts + found[1:4]
    drawn = cv2.dilate(mask, np.ones((3, 3), np.uint8)) if counts.any() else mask
    if (drawn | margins).all():
        return Marks(np.zeros_like(drawn), 0, 0, 0)
    bars, captions, lines = counts.tolist()
    return Marks(np.where(margins, np.uint8(MARGIN), drawn), bars, captions, lines, n_margins)


def find_margins(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Find margins of one colour with a straight edge, with text in them or not, gaps and surroundings.

    Gaps are white, between the pictures of a montage. Surroundings, such as those of the round field of an
    eyepiece or of a rotated picture, are black around bright images and white around dark ones: the others
    are like the ground.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``, not empty.

    Returns:
        ``bool (H, W)``, and the number of margins.
    """
    mask, count = np.zeros(image.shape[:2], bool), 0
    rest, rest_mask = image, mask
    for _ in range(4):  # the sides in turn
        if depth := _margin_depth(rest):
            rest_mask[:depth], count = True, count + 1
        rest, rest_mask = np.rot90(rest[depth:]), np.rot90(rest_mask[depth:])
    for turns in range(2):
        for rows in _white_gaps(np.rot90(rest, turns)):
            np.rot90(rest_mask, turns)[rows], count = True, count + 1
    around = _black_surroundings(image, mask) | _white_surroundings(image, mask)
    return mask | around, count + int(around.any())


def _margin_depth(image: np.ndarray) -> int:
    """Return how many of the first rows are a margin: most pixels of its colour, few in the next rows."""
    first = np.median(image[0], axis=0)
    if min(image.shape[:2]) < SHORTEST_SIDE or np.mean(image[0] == first) < 0.98:
        return 0
    share = _alike(image, first).mean(axis=1)
    full = np.flatnonzero((share[:-3] > 0.98) & (share[3:] < 0.5)).tolist()
    ends = (k + int(np.argmax(share[k:] < 0.5)) for k in full)
    depths = (n for n in ends if MARGIN_DEPTH <= n <= len(image) / 2 and share[:n].mean() > 0.7)
    return max(depths, default=0)


def _white_gaps(image: np.ndarray) -> Iterator[slice]:
    """Yield the rows of each white gap with sharp edges that lies between the first and the last row."""
    if min(image.shape[:2]) < SHORTEST_SIDE:
        return
    share = _alike(image, np.array(WHITE)).mean(axis=1)
    for start, stop in np.flatnonzero(np.diff(np.pad(share >= 0.5, 1))).reshape(-1, 2).tolist():
        is_between = start > 0 and stop < len(share)
        is_narrow = MARGIN_DEPTH <= stop - start <= GAP_SHARE * len(share)
        if is_between and is_narrow and (share[start + 2 : stop - 2] > 0.98).all():
            yield slice(start, stop)


def _alike(image: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return which pixels have about a colour, ``bool (H, W)``."""
    near = cv2.absdiff(image, np.broadcast_to(colour, image.shape).astype(np.uint8)) <= MARGIN_TOLERANCE
    return np.asarray(near if image.ndim == 2 else near.all(axis=2))


def _black_surroundings(image: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return what lies around a bright field without bays, ``bool (H, W)``, if it is black."""
    field = _field_on_black(image, margins, corners=2)
    if field is None or np.median(image[~margins]) < BRIGHT_MEDIAN:
        return np.zeros_like(margins)
    return _outside(field, margins)


def _white_surroundings(image: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return what lies around a dark picture with straight sides, ``bool (H, W)``, if it is white."""
    field = _field_on_black(255 - image, margins, corners=4)
    if field is None:
        return np.zeros_like(margins)
    hull = cv2.convexHull(field)
    sides = cv2.approxPolyDP(hull, STRAIGHT * cv2.arcLength(hull, closed=True), closed=True)
    if len(sides) > MOST_SIDES or cv2.contourArea(hull) < PICTURE_SHARE * margins.size:
        return np.zeros_like(margins)
    around = _outside(hull, margins)
    is_dark = np.median(255 - image[~(around | margins)]) >= BRIGHT_MEDIAN
    return around if is_dark else np.zeros_like(margins)


def _field_on_black(image: np.ndarray, margins: np.ndarray, corners: int) -> np.ndarray | None:
    """Return OpenCV's outline of the largest piece that is not black; None where it has bays or fills all.

    Args:
        corners: least number of the image's corners, squares of ``MARGIN_DEPTH`` pixels, that are black.
    """
    black = (image if image.ndim == 2 else image.max(axis=2)) <= BLACK_LEVEL
    ends = slice(MARGIN_DEPTH), slice(-MARGIN_DEPTH, None)
    if sum(black[rows, columns].all() for rows, columns in product(ends, ends)) < corners:
        return None
    if (black & ~margins).mean() < SURROUNDING_SHARE or black.all():
        return None
    outlines, _ = cv2.findContours((~black).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    field = max(outlines, key=cv2.contourArea)
    convex = cv2.contourArea(field) >= 0.9 * cv2.contourArea(cv2.convexHull(field))
    return field if convex else None


def _outside(field: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return the pixels outside of an outline, and those of its blurred edge, that are no margin."""
    inside = cv2.fillPoly(np.zeros(margins.shape, np.uint8), [field], 1)
    return ~cv2.erode(inside, np.ones((5, 5), np.uint8), borderValue=1).astype(bool) & ~margins


def find_bright_marks(plane: np.ndarray) -> Marks:
    """Find bright scale bars, captions and lines on a darker ground.

    All are of one value, without a blurred edge. A bar is a rectangle, at least ``BAR_LENGTH`` pixels
    long and four times as long as wide, as no nucleus is. Letters are of thin strokes, and stand side by side
    with their tops or bottoms at one height. Frames, outlines and arrows are thin for their extent.

    Args:
        plane: ``uint8 (H, W)``, not empty.
    """
    top = int(plane.max())
    bright = (plane > MARK_LEVEL * top).view(np.uint8)
    if bright.mean() > 0.5:
        return Marks(np.zeros_like(plane), 0, 0, 0)
    n, numbered, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    pieces = Pieces(plane, bright, numbered, stats[1:], top)
    bars, letters, lines = pieces.bars(), pieces.letters(), pieces.lines()
    chosen = np.zeros(n, np.uint8)
    chosen[1:][bars | lines] = 1
    for line in letters:
        chosen[1:][line] = 1
    return Marks(chosen[numbered], int(bars.sum()), len(letters), int((lines & ~bars).sum()))


class Pieces:
    """The connected pieces of bright pixels of an image.

    Args:
        plane: ``uint8 (H, W)``.
        bright: which pixels are bright, ``uint8 (H, W)``, 0 or 1.
        numbered: ``int32 (H, W)``, the number of each pixel's piece, from 1.
        stats: OpenCV's, (N, 5): left, top, width, height, area.
        top: the greatest value.
    """

    def __init__(
        self, plane: np.ndarray, bright: np.ndarray, numbered: np.ndarray, stats: np.ndarray, top: int
    ) -> None:
        self.plane, self.numbered, self.stats, self.top = plane, numbered, stats, top
        self.x, self.y, self.width, self.height, self.area = stats.T
        counts = np.bincount(numbered[plane > 0.95 * top], minlength=len(stats) + 1)[1:]
        self.white = counts / np.maximum(self.area, 1)
        distance = cv2.distanceTransform(np.pad(bright, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        deepest, inside = np.zeros(len(stats), distance.dtype), numbered > 0
        np.maximum.at(deepest, numbered[inside] - 1, distance[inside])  # SciPy's maximum sorts all pixels
        self.stroke = 2 * deepest - 1

    def bars(self) -> np.ndarray:
        """Return which pieces are scale bars, ``bool (N,)``."""
        width, length = np.minimum(self.width, self.height), np.maximum(self.width, self.height)
        long = (self.area >= 0.95 * length * width) & (length >= np.maximum(BAR_LENGTH, 4 * width))
        return self._where(long & (self.white > 0.9), lambda k: self._has_corners(k) and self._is_crisp(k))

    def lines(self) -> np.ndarray:
        """Return which pieces are frames, outlines or arrows, ``bool (N,)``."""
        extent = np.maximum(self.width, self.height)
        thin = (extent >= LINE_EXTENT) & (self.stroke <= np.minimum(LINE_SHARE * extent, LINE_WIDTH))
        return self._where(thin & (self.white > 0.8), self._is_crisp)

    def letters(self) -> list[np.ndarray]:
        """Return the indices of the pieces of each caption; half of them, or more, are thin letters."""
        tall = (self.height >= SMALLEST_LETTER) & (self.height <= LARGEST_LETTER)
        sized = (
            (self.height <= LARGEST_LETTER)
            & (self.width <= 4 * np.maximum(self.height, SMALLEST_LETTER))
            & (self.area > 1)
        )
        if (sized & tall).sum() > MOST_LETTERS:
            return []
        sized &= self.white > 0.3
        stroke = self.stroke <= LETTER_STROKE * np.minimum(self.width, self.height)
        thin = self._where(
            sized & tall & stroke, lambda k: self._solidity(k) <= LETTER_SOLIDITY and self._is_crisp(k)
        )
        if thin.sum() < 2:  # the fewest of a caption
            return []
        indices = np.flatnonzero(self._where(sized, self._is_crisp))
        x, y, width, height = (n[indices] for n in (self.x, self.y, self.width, self.height))
        tallest = np.maximum(height[:, None], height)
        gap = np.maximum(x[:, None], x) - np.minimum((x + width)[:, None], x + width)
        level = np.minimum(abs(y[:, None] - y), abs((y + height)[:, None] - (y + height))) <= 0.2 * tallest
        count, line = connected_components(level & (gap <= 1.2 * tallest), directed=False)
        groups = (indices[line == k] for k in range(count))
        return [self._within(g) for g in groups if thin[g].sum() >= max(2, len(g) / 2)]

    def _within(self, letters: np.ndarray) -> np.ndarray:
        """Return the indices of letters with all pieces between them, such as points."""
        left, top = self.x[letters].min(), self.y[letters].min()
        right = (self.x + self.width)[letters].max()
        bottom = (self.y + self.height)[letters].max()
        inside = (self.x >= left) & (self.y >= top)
        inside &= (self.x + self.width <= right) & (self.y + self.height <= bottom)
        return np.flatnonzero(inside)

    def _where(self, candidates: np.ndarray, test: Callable[[int], bool]) -> np.ndarray:
        """Return which of some pieces pass a test, ``bool (N,)``."""
        passed = candidates.copy()
        passed[candidates] = [test(k) for k in np.flatnonzero(candidates).tolist()]
        return passed

    def _window(self, k: int, margin: int = 0) -> tuple[slice, slice]:
        """Return the rows and columns of a piece's bounding box, with a margin around it."""
        x, y, width, height, _ = self.stats[k]
        rows = slice(max(0, y - margin), y + height + margin)
        return rows, slice(max(0, x - margin), x + width + margin)

    def _has_corners(self, k: int) -> bool:
        """Return whether a piece has the corners of its bounding box, as a rod has not."""
        return bool((self.numbered[self._window(k)][[0, 0, -1, -1], [0, -1, 0, -1]] == k + 1).all())

    def _is_crisp(self, k: int) -> bool:
        """Return whether most pixels around a piece, from the second on, are less than half as bright."""
        window = self._window(k, 3)
        piece = (self.numbered[window] == k + 1).astype(np.uint8)
        near, far = (cv2.dilate(piece, np.ones((side, side), np.uint8)) for side in (3, 7))
        around = self.plane[window][(far > near) & (self.plane[window] <= MARK_LEVEL * self.top)]
        return around.size > 0 and float(np.percentile(around, 75)) < self.top / 2

    def _solidity(self, k: int) -> float:
        """Return the share of its convex hull that a piece fills."""
        piece = (self.numbered[self._window(k)] == k + 1).astype(np.uint8)
        hull = np.zeros_like(piece)
        cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(piece)), 1)
        return float(piece.sum() / hull.sum())


def paint_out(image: np.ndarray, mask: np.ndarray, ground: np.ndarray | None = None) -> np.ndarray:
    """Replace the pixels of a mask by what surrounds them, and margins by the ground; see ``find_marks``.

    Args:
        image: ``uint8 (H, W)`` or RGB ``uint8 (H, W, 3)``, or a part of one.
        mask: ``uint8 (H, W)``.
        ground: median of the whole image without its marks; None takes that of ``image``.
    """
    margins = mask == MARGIN
    if margins.any():
        image = _filled(image, margins, _ground(image, mask > 0) if ground is None else ground)
    others = (mask == 1).view(np.uint8)
    return cv2.inpaint(image, others, 3, cv2.INPAINT_TELEA) if others.any() else image


def _ground(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the median of the pixels outside of a mask, for each colour."""
    return np.median(image[~mask], axis=0).astype(np.uint8)


def _filled(image: np.ndarray, mask: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return a copy of an image with one colour in the pixels of a mask."""
    image = image.copy()
    image[mask] = ground
    return image
