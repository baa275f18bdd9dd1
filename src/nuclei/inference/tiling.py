"""Predict large images in overlapping tiles, so that memory stays bounded.

Each tile is predicted with its surroundings and only its interior is kept. A tile begins at a multiple of the
network's stride, so that pooling falls on the same pixels as in the whole image: where the surroundings are
as wide as the network's receptive field, the maps are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nuclei.progress import track

TILE = 1024
"""Side in pixels of what is kept of a tile."""
CONTEXT = 128
"""Pixels around a tile that are predicted too."""
LIMIT = 6_000_000
"""Pixels of the largest image predicted whole; the competition's largest, 1040 × 1388, at twice its size."""

Window = tuple[slice, slice]


def windows(
    shape: tuple[int, int], stride: int, tile: int = TILE, context: int = CONTEXT
) -> Iterator[tuple[Window, Window]]:
    """Divide an image into tiles.

    Args:
        shape: (H, W).
        stride: of the network; ``tile`` and ``context`` are rounded up to multiples of it.
        tile: side of what is kept of each, in pixels.
        context: pixels around it that are predicted too, as far as the image goes.

    Yields:
        For each tile the window to predict and the window to keep; the latter cover each pixel once.

    >>> [(outer[1], inner[1]) for outer, inner in windows((1, 5), stride=1, tile=3, context=1)]
    [(slice(0, 4, None), slice(0, 3, None)), (slice(2, 5, None), slice(3, 5, None))]
    """
    tile, context = (-(-n // stride) * stride for n in (tile, context))
    for y in range(0, shape[0], tile):
        for x in range(0, shape[1], tile):
            yield (
                (
                    span(y - context, y + tile + context, shape[0]),
                    span(x - context, x + tile + context, shape[1]),
                ),
                (span(y, y + tile, shape[0]), span(x, x + tile, shape[1])),
            )


def span(start: int, stop: int, length: int) -> slice:
    """Return the part of a slice that lies within 0 and ``length``."""
    return slice(max(start, 0), min(stop, length))


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    stride: int,
    tile: int = TILE,
    context: int = CONTEXT,
) -> np.ndarray:
    """Return the maps of an image, predicted one tile after the other, with a progress bar.

    Args:
        predict: ``uint8 (h, w)`` or ``(h, w, 3)`` to ``uint8 (C, h, w)``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, not empty.
        stride, tile, context: see ``windows``.

    Returns:
        ``uint8 (C, H, W)``.
    """
    maps = np.empty(0, np.uint8)
    for outer, inner in track(list(windows(image.shape[:2], stride, tile, context)), "tiles"):
        tile_maps = predict(image[outer])
        if not maps.size:
            maps = np.empty((len(tile_maps), *image.shape[:2]), np.uint8)
        rows, columns = (
            slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
        )
        maps[:, *inner] = tile_maps[:, rows, columns]
    return maps
