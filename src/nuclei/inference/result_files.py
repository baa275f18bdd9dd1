"""Write the nuclei of an image: label maps, pictures of outlines, polygons and ImageJ's ROIs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from nuclei.atomic import atomic_folder, atomic_write
from nuclei.data.image_stacks import Pixels, RegionImage
from nuclei.data.preprocessing import stretch_contrast
from nuclei.inference.measure import outline
from nuclei.inference.predict_maps import windows

PICTURE = 64_000_000
"""Pixels of the largest picture of outlines; larger images are shown reduced."""
SIDE = 512
"""Of a tile in the label maps of large images, and of the smallest level of their pyramids."""
CHUNK = 1024
"""Side of a chunk of OME-Zarr."""
NGFF = "0.4"
"""Version of OME-Zarr that is written: the one that most programs read."""


def write_labels(path: Path, labels: Pixels, pixel_size: float | None) -> None:
    """Write a label map, ``int32 (H, W)``, 1..N, as TIFF, with the side of a pixel in µm if it is known.

    Labels in memory are written for ImageJ: 16 bits, or float for more nuclei. Labels by region, those of a
    large image, are written in tiles: 16 bits, or 32, as BigTIFF where the file may come to 4 GB.
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


def write_zarr(path: Path, labels: Pixels, pixel_size: float | None) -> None:
    """Write what ``write_labels`` writes as an OME-Zarr image of labels; a folder of this name is replaced.

    Every reader of OME-Zarr opens NGFF 0.4.
    """
    import numcodecs
    import zarr  # takes half a second

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(path, "another folder") as part:
        group = zarr.create_group(part, zarr_format=2)
        level: Any = labels
        count = 0
        while count == 0 or max(level.shape) > SIDE:
            step = 1 if count == 0 else 2
            shape = -(-level.shape[0] // step), -(-level.shape[1] // step)
            array = group.create_array(
                str(count),
                shape=shape,
                chunks=(min(CHUNK, max(shape[0], 1)), min(CHUNK, max(shape[1], 1))),
                dtype=np.int32,
                compressors=numcodecs.Blosc("zstd", 3, numcodecs.Blosc.SHUFFLE),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            for _, (rows, columns) in windows(shape, CHUNK, CHUNK, 0):
                at = tuple(slice(step * n.start, step * n.stop, step) for n in (rows, columns))
                array[rows, columns] = level[at]
            level, count = array, count + 1
        group.attrs.update(_label_metadata(path.name, count, pixel_size))
        shutil.rmtree(path, ignore_errors=True)


def _label_metadata(name: str, levels: int, pixel_size: float | None) -> Mapping[str, Any]:
    """Return the metadata of an image of labels whose levels halve in size; its nuclei keep their numbers."""
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    scales = [[(pixel_size or 1.0) * 2**n] * 2 for n in range(levels)]
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for n, scale in enumerate(scales)
    ]
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    multiscale = {"version": NGFF, "name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    return {"multiscales": [multiscale], "image-label": {"version": NGFF}}


def _tiles(labels: RegionImage) -> Iterator[np.ndarray]:
    """Yield labels in tiles, row by row; those at the edges are smaller."""
    for _, tile in windows((labels.shape[0], labels.shape[1]), SIDE, SIDE, 0):
        yield labels[tile]


def write_overlay(path: Path, image: Pixels, labels: Pixels, dim: bool) -> list[str]:
    """Write the outlines of nuclei on their image as PNG, every k-th pixel of one above ``PICTURE``.

    Args:
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
