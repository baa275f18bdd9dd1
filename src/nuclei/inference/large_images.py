"""Segment an image, a large one block by block, in memory that hardly grows with it.

Maps are predicted in tiles, see ``predict_maps.windows``, whose preprocessing and zoom are decided once for
the whole image. Post-processing then sees blocks with a margin, and each nucleus is taken from the block that
holds the upper left corner of its bounding box: neighbours see the same nucleus, and one of them takes it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects

from nuclei.data.preprocessing import NO_HINTS, ImageHints, Transform, choose_preprocessing, sample_pixels
from nuclei.inference.predict_maps import pad, windows, within_window
from nuclei.inference.segmenter import Segmenter, WeightedNetwork
from nuclei.progress import track

LARGE = 12_000_000
"""Number of pixels from which on an image is segmented in blocks."""
TILE = 1536
"""Side in pixels of a tile with its surroundings, as the network sees it."""
BLOCK = 2048
"""Side in pixels of a block of post-processing, without its margin."""
CONTEXT = 128
"""Least number of pixels around a tile that networks see too."""
MARGIN = 8
"""Width of a block's margin, in mean diameters of a nucleus."""
USUAL_DIAMETER = 26
"""Of a nucleus in pixels, where a network is not told how large to see them."""
BUSIEST = 1024
"""Side in pixels of each of the four windows in which the nuclei of a large image are measured."""


class Segmentation(NamedTuple):
    """Maps ``uint8 (C, H, W)`` and labels ``int32 (H, W)`` of an image, and the mean zoom of networks.

    Those of a large image lie in temporary files, which vanish with them.
    """

    maps: np.ndarray
    labels: np.ndarray
    zoom: float


def segment(segmenter: Segmenter, image: np.ndarray, hints: ImageHints = NO_HINTS) -> Segmentation:
    """Return maps and labels of an image, of a large one in blocks.

    A network that sees whole images at one size gives the maps of a large one at once, too.

    Args:
        segmenter: networks and post-processing.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.
        hints: what the user says of it.
    """
    whole = any(member.network.size for member in segmenter.networks)
    if whole or image.shape[0] * image.shape[1] < LARGE:
        maps, zoom = segmenter.predict(image, hints)
        return Segmentation(maps, segmenter.labels(maps), zoom)
    return segment_blocks(segmenter, image, hints)


def segment_blocks(
    segmenter: Segmenter,
    image: np.ndarray,
    hints: ImageHints = NO_HINTS,
    tile: int = TILE,
    block: int = BLOCK,
) -> Segmentation:
    """Return what ``segment`` returns, in blocks; see there."""
    shape = (image.shape[0], image.shape[1])
    sample, busiest = sample_pixels(image), busiest_windows(image)
    zoomed = []
    for member in segmenter.networks:
        show = choose_preprocessing(sample, member.network.preprocessing, hints)
        zoomed.append(ZoomedNetwork(member, show, member.zoom(show(busiest), hints)))
    maps = _scratch((len(segmenter.channels), *shape), np.dtype(np.uint8))
    grid = math.lcm(*(network.grid for network in zoomed))
    context = math.ceil(CONTEXT / grid) * grid
    core = max(grid, int((tile / max(n.zoom for n in zoomed) - 2 * context) // grid * grid))
    for outer, inner in track(list(windows(shape, grid, core, context)), "maps of tiles"):
        part = segmenter.mean_maps([network.maps(image[outer]) for network in zoomed])
        maps[:, *inner] = part[:, *within_window(outer, inner)]
    labels = _scratch(shape, np.dtype(np.int32))
    join_blocks(segmenter.labels, maps, labels, block, math.ceil(max(n.margin for n in zoomed)))
    return Segmentation(maps, labels, float(np.mean([network.zoom for network in zoomed])))


class ZoomedNetwork:
    """A network that sees parts of a large image as it would see the whole one.

    Its zoom is rounded to a multiple of 1/4, of 1/8 below 1 and of 1/32 below 1/4, so that parts which begin
    at multiples of ``grid`` are resized, and pooled, at the same pixels as the whole image.

    Args:
        member: the network.
        show: its preprocessing, decided on the whole image.
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


def busiest_windows(image: np.ndarray, side: int = BUSIEST) -> np.ndarray:
    """Return four windows of an image with the greatest contrast, as one image of 2 by 2 of them."""
    height, width = (min(side, n // 2) for n in image.shape[:2])
    corners = [
        (y, x)
        for y in range(0, image.shape[0] - height + 1, height)
        for x in range(0, image.shape[1] - width + 1, width)
    ]
    corners.sort(key=lambda c: -float(image[c[0] : c[0] + height : 8, c[1] : c[1] + width : 8].std()))
    a, b, c, d = (image[y : y + height, x : x + width] for y, x in corners[:4])
    return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)], axis=0)


def join_blocks(
    postprocess: Callable[[np.ndarray], np.ndarray],
    maps: np.ndarray,
    labels: np.ndarray,
    block: int,
    margin: int,
) -> None:
    """Post-process maps block by block, and write the nuclei of all blocks into one label map.

    Args:
        postprocess: from maps ``uint8 (C, h, w)`` to labels ``int32 (h, w)``.
        maps: ``uint8 (C, H, W)``.
        labels: ``int32 (H, W)`` of zeros; takes the nuclei, 1..N.
        block: side of a block in pixels.
        margin: pixels around it that post-processing sees too; at least as wide as groups of nuclei that
            touch, for the same nuclei as in one piece.
    """
    count = 0
    blocks = list(windows((labels.shape[0], labels.shape[1]), 1, block, margin))
    for outer, inner in track(blocks, "nuclei of blocks"):
        found = postprocess(np.ascontiguousarray(maps[:, *outer]))
        rows, columns = within_window(outer, inner)
        for number, box in enumerate(find_objects(found), 1):
            if box is None or not (
                rows.start <= box[0].start < rows.stop and columns.start <= box[1].start < columns.stop
            ):
                continue
            place = tuple(slice(o.start + b.start, o.start + b.stop) for o, b in zip(outer, box, strict=True))
            pixels, taken = found[box] == number, labels[place]
            free = pixels & (taken == 0)
            if 2 * free.sum() >= pixels.sum():  # else another block has taken it for a part of its neighbour
                count += 1
                taken[free] = count


def _scratch(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Return an array of zeros in a temporary file without a name."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=tuple(shape))
