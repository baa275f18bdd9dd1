"""Write the nuclei of an image: label maps, pictures of outlines, polygons and ImageJ's ROIs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from nuclei.atomic import atomic_write
from nuclei.data.image_regions import Pixels, RegionImage
from nuclei.data.preprocessing import stretch_contrast
from nuclei.inference.measure import outline
from nuclei.inference.predict_maps import windows

PICTURE = 64_000_000
"""Pixels of the largest picture of outlines; larger images are shown reduced."""
SIDE = 512
"""Of a tile in the label maps of large images."""


def write_labels(path: Path, labels: Pixels, pixel_size: float | None) -> None:
    """Write a label map as TIFF, with the pixel size.

    Labels in memory are written for ImageJ: 16 bits, or float for more nuclei. Labels by region, those of a
    large image, are written in tiles: 16 bits, or 32, as BigTIFF where the file may come to 4 GB.

    Args:
        path: of the file.
        labels: ``int32 (H, W)``, 1..N.
        pixel_size: side of a pixel in µm, if it is known.
    """
    with atomic_write(path) as part:
        # Every reader knows deflate; tifffile and scikit-image read LZW with a further package alone.
        if isinstance(labels, RegionImage):
            count = max(int(tile.max()) for tile in _tiles(labels))
            dtype = np.dtype(np.uint16 if count < 2**16 else np.uint32)
            tifffile.imwrite(
                part,
                (tile.astype(dtype) for tile in _tiles(labels)),
                shape=labels.shape,
                dtype=dtype,
                tile=(SIDE, SIDE),
                bigtiff=labels.size * dtype.itemsize >= 2**32,
                compression="zlib",
                photometric="minisblack",
                metadata=None,
                resolution=None if pixel_size is None else (1e4 / pixel_size, 1e4 / pixel_size),
                resolutionunit="CENTIMETER" if pixel_size is not None else None,
            )
            return
        tifffile.imwrite(
            part,
            labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.float32),
            imagej=True,
            compression="zlib",
            metadata={"axes": "YX"} if pixel_size is None else {"axes": "YX", "unit": "um"},
            resolution=None if pixel_size is None else (1 / pixel_size, 1 / pixel_size),
        )


def _tiles(labels: RegionImage) -> Iterator[np.ndarray]:
    """Yield labels in tiles, row by row; those at the edges are smaller."""
    for _, tile in windows((labels.shape[0], labels.shape[1]), SIDE, SIDE, 0):
        yield labels[tile]


def write_overlay(path: Path, image: Pixels, labels: Pixels, dim: bool) -> list[str]:
    """Write the outlines of nuclei on their image as PNG, every k-th pixel of one above ``PICTURE``.

    Args:
        path: of the file.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.
        labels: ``int32 (H, W)``.
        dim: whether to stretch the contrast of the image.

    Returns:
        A note of the reduction, where there was one.
    """
    step = math.ceil(math.sqrt(max(1.0, image.shape[0] * image.shape[1] / PICTURE)))
    picture = np.asarray(image[::step, ::step])
    rgb = outline(stretch_contrast(picture) if dim else picture, np.asarray(labels[::step, ::step]))
    with atomic_write(path) as part:
        part.write_bytes(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes())
    return [f"the overlay is reduced to 1/{step} of the image's width"] if step > 1 else []
