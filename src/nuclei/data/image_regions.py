"""Large images that stay in their files: what is sliced of them is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from typing import TypeAlias

import numpy as np

SAMPLE = 12_000_000
"""Pixels by which the modality and the contrast of a larger image are judged."""
BAND = 16_000_000
"""Pixels that are read at a time where every k-th pixel is wanted."""
Slices = tuple[slice, slice]
Read = Callable[[slice, slice], np.ndarray]
"""Returns the region within rows and columns, which have both ends and no step."""


class RegionImage:
    """An image of which regions are read when they are sliced, in the place of an array.

    ``image[rows, columns]`` is an array ``(h, w)`` or RGB ``(h, w, 3)``; the slices may have steps.
    ``np.asarray(image)`` is the whole image.

    Args:
        shape: ``(H, W)`` or ``(H, W, 3)``.
        dtype: of the values.
        read: returns a region.
        sample: returns what ``sample_pixels`` does, if there is a quicker way than slicing.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        read: Read,
        sample: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.shape, self.dtype, self._read, self._sample = shape, dtype, read, sample
        self.ndim, self.size = len(shape), math.prod(shape)

    def __getitem__(self, key: slice | Slices) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        top, bottom, down = rows.indices(self.shape[0])
        left, right, across = columns.indices(self.shape[1])
        if (down, across) == (1, 1):
            return self._read(slice(top, bottom), slice(left, right))
        height = _band(right - left, down)
        bands = [
            # A copy, since a view would keep all pixels of the band.
            self._read(slice(start, min(start + height, bottom)), slice(left, right))[::down, ::across].copy()
            for start in range(top, max(bottom, top + 1), height)
        ]
        return np.concatenate(bands)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)

    @cached_property
    def sample(self) -> np.ndarray:
        """Every k-th pixel of every k-th row, read once; see ``sample_pixels``."""
        if self._sample is not None:
            return self._sample()
        step = sample_step(self)
        return self[::step, ::step]

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> RegionImage:
        """Return the image whose regions a function makes of those of this one, each pixel by itself."""
        shown = function(self._read(slice(0, 1), slice(0, 1)))
        return RegionImage(
            (*self.shape[:2], *shown.shape[2:]),
            shown.dtype,
            lambda rows, columns: function(self._read(rows, columns)),
            lambda: function(self.sample),
        )


Pixels: TypeAlias = np.ndarray | RegionImage
"""An image, in memory or not; both have ``shape``, ``dtype``, ``ndim``, ``size`` and slices of regions."""


def image_by_region(size: tuple[int, int], read: Read, large: float) -> Pixels:
    """Return the image of ``size`` (H, W) that ``read`` reads, at once if it has at most ``large`` pixels."""
    if size[0] * size[1] <= large:
        return read(slice(0, size[0]), slice(0, size[1]))
    corner = read(slice(0, 1), slice(0, 1))
    return RegionImage((*size, *corner.shape[2:]), corner.dtype, read)


def keep_rows(read: Read, width: int) -> Read:
    """Wrap a reader of regions so that it decodes whole rows and caches those it read last.

    For files in strips as wide as the image: windows side by side share their rows, which are decoded once.
    """
    kept: tuple[slice, np.ndarray] | None = None

    def region(rows: slice, columns: slice) -> np.ndarray:
        nonlocal kept
        if kept is None or kept[0] != rows:
            kept = rows, read(rows, slice(0, width))
        return kept[1][:, columns]

    return region


def combine(images: Iterator[Pixels], function: Callable[[Iterator[np.ndarray]], np.ndarray]) -> Pixels:
    """Return what a function makes of several images of one size, one after the other, pixel by pixel."""
    first = next(images)
    if isinstance(first, RegionImage):
        planes = [first, *images]
        return RegionImage(
            first.shape, first.dtype, lambda rows, columns: function(plane[rows, columns] for plane in planes)
        )
    return function(np.asarray(plane) for plane in chain([first], images))


def sample_step(image: Pixels) -> int:
    """Return k, for which every k-th pixel of every k-th row are at most ``SAMPLE``; 1 for small images."""
    return math.ceil(math.sqrt(max(1.0, image.shape[0] * image.shape[1] / SAMPLE)))


def sample_pixels(image: Pixels) -> np.ndarray:
    """Return every k-th pixel of every k-th row, about ``SAMPLE`` of them; of a small image all."""
    if isinstance(image, RegionImage):
        return image.sample
    step = sample_step(image)
    return image[::step, ::step]


def _band(width: int, step: int) -> int:
    """Return how many rows to read at a time, a multiple of ``step``."""
    return max(512, BAND // max(width, 1)) // step * step
