"""Segment an image, a large one block by block, in memory that hardly grows with it.

Maps are predicted in tiles, see ``predict_maps.windows``, whose preprocessing and zoom are decided once for
the whole image. Post-processing then sees blocks with a margin, and each nucleus is taken from the block that
holds the upper left corner of its bounding box: neighbours see the same nucleus, and one of them takes it.

What an image takes is the working memory of a tile. The image itself may stay in its file, and its maps and
labels, 4 bytes a pixel and one for each map, lie in temporary files without a name.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects

from nuclei.data.image_stacks import Pixels, RegionImage, sample_pixels
from nuclei.data.preprocessing import NO_HINTS, ImageHints, Transform, choose_preprocessing
from nuclei.errors import UserError
from nuclei.inference.measure import LabelPart
from nuclei.inference.predict_maps import Window, pad, windows, within_window
from nuclei.inference.segmenter import Segmenter, WeightedNetwork, busiest_part
from nuclei.postprocess.pipeline import by_name
from nuclei.postprocess.second_stage import ImageNuclei, Selection
from nuclei.progress import track

LARGE = 12_000_000
"""Number of pixels from which on an image is segmented in blocks."""
TILE = 1536
"""Side in pixels of a tile with its surroundings, as the network sees it."""
BLOCK = 2048
"""Side in pixels of a block of post-processing, without its margin."""
CONTEXT = 256
"""Least number of pixels around a tile that networks see too, at the size at which they see them.

What lies farther away changes few pixels of the maps of the bundled model, by 3 of 255 at most.
"""
MARGIN = 8
"""Width of a block's margin, in mean diameters of a nucleus."""
USUAL_DIAMETER = 26
"""Diameter of nuclei in pixels that is assumed for networks without a diameter of their own."""


class Part(NamedTuple):
    """The nuclei numbered ``first`` to ``last``, which lie within a window of the image."""

    window: Window
    first: int
    last: int


@dataclass(frozen=True)
class Segmentation:
    """The nuclei of an image; of a large one, maps and labels are images by region.

    Attributes:
        maps: ``uint8 (H, W)`` each.
        labels: ``int32 (H, W)``, 1..N.
        zoom: mean zoom of the networks.
        parts: each nucleus is in one of them, in the order of their numbers.
    """

    maps: Sequence[Pixels]
    labels: Pixels
    zoom: float
    parts: Sequence[Part]

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return max((part.last for part in self.parts), default=0)

    def by_part(self) -> Iterator[LabelPart]:
        """Yield the parts, one in memory at a time."""
        for window, first, last in self.parts:
            labels = self.labels[window]
            inside = (labels >= first) & (labels <= last)
            yield LabelPart(
                np.where(inside, labels - (first - 1), 0), (window[0].start, window[1].start), first
            )


def segment(
    segmenter: Segmenter, image: Pixels, hints: ImageHints = NO_HINTS, tile: int = TILE
) -> Segmentation:
    """Return maps and labels of an image, of a large one in blocks.

    A network that sees whole images at one size gives the maps of a large one at once, too.

    Args:
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.
        tile: side in pixels of the tiles of a large image, as the network sees them; blocks of
            post-processing change with it. Both decide how much memory is taken.
    """
    whole = any(member.network.size for member in segmenter.networks)
    if whole or image.shape[0] * image.shape[1] < LARGE:
        maps, zoom = segmenter.predict(np.asarray(image), hints)
        labels = segmenter.labels(maps)
        window = slice(0, image.shape[0]), slice(0, image.shape[1])
        return Segmentation(list(maps), labels, zoom, [Part(window, 1, int(labels.max(initial=0)))])
    return segment_blocks(segmenter, image, hints, tile, tile * BLOCK // TILE)


def segment_blocks(
    segmenter: Segmenter,
    image: Pixels,
    hints: ImageHints = NO_HINTS,
    tile: int = TILE,
    block: int = BLOCK,
) -> Segmentation:
    """Return what ``segment`` returns, in blocks; see there."""
    shape = (image.shape[0], image.shape[1])
    sample, busiest = sample_pixels(image), busiest_part(image)
    zoomed = []
    for member in segmenter.networks:
        show = choose_preprocessing(sample, member.network.preprocessing, hints)
        zoomed.append(ZoomedNetwork(member, show, member.zoom(show(busiest), hints)))
    maps, labels = [Scratch(shape, np.uint8) for _ in segmenter.channels], Scratch(shape, np.int32)
    grid = math.lcm(*(network.grid for network in zoomed))
    context = math.ceil(CONTEXT / min(n.zoom for n in zoomed) / grid) * grid
    core = max(grid, int((tile / max(n.zoom for n in zoomed) - 2 * context) // grid * grid))
    for outer, inner in track(list(windows(shape, grid, core, context)), "maps of tiles"):
        part = image[outer]
        tile_maps = segmenter.mean_maps([network.maps(part) for network in zoomed])
        for plane, tile_map in zip(maps, tile_maps, strict=True):
            plane[inner] = tile_map[within_window(outer, inner)]
    margin = math.ceil(max(n.margin for n in zoomed))
    parts = join_blocks(block_postprocessing(segmenter, maps, block, margin), maps, labels, block, margin)
    return Segmentation(maps, labels, float(np.mean([network.zoom for network in zoomed])), parts)


class ZoomedNetwork:
    """A network that sees parts of a large image as it would see the whole one.

    Its zoom is rounded to a multiple of 1/4, of 1/8 below 1 and of 1/32 below 1/4, so that parts which begin
    at multiples of ``grid`` are resized, and pooled, at the same pixels as the whole image.

    Args:
        show: the preprocessing of the network, decided on the whole image.
        zoom: wanted.

    Attributes:
        zoom: rounded.
        grid: in pixels of the image.
        margin: in pixels of the image, for ``join_blocks``.
    """

    def __init__(self, member: WeightedNetwork, show: Transform, zoom: float) -> None:
        steps = 4 if zoom >= 1 else 8 if zoom >= 0.25 else 32
        self.member, self.show = member, show
        self.zoom = max(1, round(zoom * steps)) / steps
        self.grid = steps * member.network.stride
        self.margin = MARGIN * (member.diameter or USUAL_DIAMETER) / self.zoom

    def maps(self, image: np.ndarray) -> np.ndarray:
        """Return the maps ``uint8 (C, h, w)`` of a part, ``uint8 (h, w)`` or ``(h, w, 3)``."""
        shown = pad(self.show(image), self.grid)
        return self.member.zoomed_maps(shown, self.zoom)[:, : image.shape[0], : image.shape[1]]


def block_postprocessing(
    segmenter: Segmenter, maps: Sequence[Pixels], block: int, margin: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the post-processing of parts of an image, from maps ``uint8 (C, h, w)`` to labels.

    The second stage compares candidates with the nuclei of the whole image, counted as in ``BLOCK`` squared
    pixels of it, wherever blocks begin. ``join_blocks`` describes the arguments.
    """
    first, *others = segmenter.steps
    if not isinstance(first, Selection) or not first.trees:
        return segmenter.labels
    shape = maps[0].shape[0], maps[0].shape[1]
    areas, pixels = [np.zeros(0, int)], shape[0] * shape[1]
    for outer, inner in track(list(windows(shape, 1, block, margin)), "sizes of nuclei"):
        found = first.first_candidates(by_name(np.stack([p[outer] for p in maps]), segmenter.channels))
        counts = np.bincount(found.ravel())
        areas.append(counts[[number for number, _ in nuclei_of(found, outer, inner)]])
    median_area, number, share = ImageNuclei.of(np.concatenate(areas), pixels)
    image = ImageNuclei(median_area, number * min(1.0, BLOCK**2 / pixels), share)

    def labels(part: np.ndarray) -> np.ndarray:
        selected = first(by_name(part, segmenter.channels), image)
        for step in others:
            selected = step(selected)
        return selected

    return labels


def nuclei_of(found: np.ndarray, outer: Window, inner: Window) -> Iterator[tuple[int, Window]]:
    """Yield number and bounding box of the nuclei of the block ``inner``: their upper left corner lies in it.

    ``found`` are the labels of the block with its margin, which is the window ``outer`` of the image.
    """
    rows, columns = within_window(outer, inner)
    for number, box in enumerate(find_objects(found), 1):
        if box is None:
            continue
        if rows.start <= box[0].start < rows.stop and columns.start <= box[1].start < columns.stop:
            yield number, box


def join_blocks(
    postprocess: Callable[[np.ndarray], np.ndarray],
    maps: Sequence[Pixels],
    labels: np.ndarray | Scratch,
    block: int,
    margin: int,
) -> list[Part]:
    """Post-process maps block by block, and write the nuclei of all blocks into one label map.

    Args:
        postprocess: from maps ``uint8 (C, h, w)`` to labels ``int32 (h, w)``.
        maps: ``uint8 (H, W)`` each.
        labels: ``int32 (H, W)`` of zeros; takes the nuclei, 1..N.
        block: side of a block in pixels.
        margin: pixels around it that post-processing sees too; at least as wide as groups of nuclei that
            touch, for the same nuclei as in one piece.

    Returns:
        The nuclei that each block has added.
    """
    count, parts = 0, []
    blocks = list(windows((labels.shape[0], labels.shape[1]), 1, block, margin))
    for outer, inner in track(blocks, "nuclei of blocks"):
        found = postprocess(np.stack([plane[outer] for plane in maps]))
        taken, before = labels[outer], count
        for number, box in nuclei_of(found, outer, inner):
            pixels = found[box] == number
            free = pixels & (taken[box] == 0)
            if 2 * free.sum() >= pixels.sum():  # else another block has taken it for a part of its neighbour
                count += 1
                taken[box][free] = count
        labels[outer] = taken
        parts.append(Part(outer, before + 1, count))
    return parts


class Scratch(RegionImage):
    """An image ``(H, W)`` of zeros in a temporary file without a name; regions are read, and written.

    The file is mapped for each region, so that what was read or written is no memory of the process.

    Raises:
        UserError: the disk has no room for the file.
    """

    def __init__(self, shape: tuple[int, int], dtype: type) -> None:
        # Open as long as the image is there; nothing below refers to the image, so that both go at once.
        file = self._file = tempfile.TemporaryFile()  # noqa: SIM115
        super().__init__(
            shape,
            np.dtype(dtype),
            lambda *region: np.array(np.memmap(file, dtype, "r", shape=shape)[region]),
        )
        size = max(1, self.size * self.dtype.itemsize)
        if hasattr(os, "posix_fallocate"):  # a write to a mapped file on a full disk would end the process
            try:
                os.posix_fallocate(self._file.fileno(), 0, size)
            except OSError as e:
                raise UserError(
                    f"no {size / 1e9:.1f} GB for maps and labels in {tempfile.gettempdir()}: {e.strerror}; "
                    "free some space or set TMPDIR"
                ) from e

    def __setitem__(self, region: Window, values: np.ndarray) -> None:
        np.memmap(self._file, self.dtype, "r+", shape=self.shape)[region] = values
