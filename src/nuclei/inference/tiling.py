"""Large images in overlapping tiles, so that memory stays bounded.

Each tile is predicted with its surroundings and only its interior is kept. A tile begins at a multiple of the
network's stride, so that pooling falls on the same pixels as in the whole image: where the surroundings hold
all that a network sees, the maps are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nuclei.progress import track

TILE = 1024
CONTEXT = 128
# In pixels; the competition's largest images, 1040 x 1388, are predicted whole up to twice their size.
LIMIT = 6_000_000

Window = tuple[slice, slice]


def windows(
    shape: tuple[int, int], stride: int, tile: int = TILE, context: int = CONTEXT
) -> Iterator[tuple[Window, Window]]:
    """Share an image out among tiles.

    Args:
        shape: (H, W).
        stride: of the network; ``tile`` and ``context`` are rounded up to multiples of it.
        tile: side of what is kept of each, in pixels.
        context: pixels around it that are predicted too, as far as the image goes.

    Yields:
        For each tile what to predict and what of the image to keep; the latter cover each pixel once.

    >>> [(outer[1], inner[1]) for outer, inner in windows((1, 5), stride=1, tile=3, context=1)]
    [(slice(0, 4, None), slice(0, 3, None)), (slice(2, 5, None), slice(3, 5, None))]
    """
    tile, context = (-(-n // stride) * stride for n in (tile, context))
    for y in range(0, shape[0], tile):
        for x in range(0, shape[1], tile):
            inner = tuple(slice(a, min(a + tile, n)) for a, n in zip((y, x), shape, strict=True))
            outer = tuple(
                slice(max(s.start - context, 0), min(s.stop + context, n))
                for s, n in zip(inner, shape, strict=True)
            )
            yield outer, inner  # type: ignore[misc]


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    stride: int,
    tile: int = TILE,
    context: int = CONTEXT,
) -> np.ndarray:
    """Maps of an image, one tile after the other; how far it is goes to ``nuclei.progress``.

    Args:
        predict: ``uint8 (h, w)`` or ``(h, w, 3)`` to ``uint8 (C, h, w)``.
        image: ``uint8 (H, W)`` or ``(H, W, 3)``, not empty.
        stride, tile, context: see ``windows``.

    Returns:
        ``uint8 (C, H, W)``.
    """
    maps = np.empty(0, np.uint8)
    for outer, inner in track(list(windows(image.shape[:2], stride, tile, context)), "tiles"):
        found = predict(image[outer])
        if not maps.size:
            maps = np.empty((len(found), *image.shape[:2]), np.uint8)
        maps[:, *inner] = found[:, *within(inner, outer)]
    return maps


def within(inner: Window, outer: Window) -> Window:
    """``inner``, counted from where ``outer`` begins."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))  # type: ignore[return-value]
