"""Segment image files, several at a time, and write label maps, outlines and polygons of each image."""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import tifffile

from nuclei.atomic import atomic_folder, atomic_write
from nuclei.data.image_files import File
from nuclei.data.image_io import read_images
from nuclei.data.image_stacks import (
    EVERYTHING,
    Pixels,
    PlaneSelection,
    RegionImage,
    SourceImage,
    sample_pixels,
)
from nuclei.data.image_stores import local_copy
from nuclei.data.preprocessing import (
    NO_HINTS,
    ImageHints,
    check_pixel_size,
    judge_modality,
    nuclear_channel,
    stretch_contrast,
)
from nuclei.errors import UserError
from nuclei.inference import large_images
from nuclei.inference.large_images import TILE, segment
from nuclei.inference.measure import (
    Columns,
    LabelPart,
    class_names,
    classes_of,
    measure_parts,
    outline,
    polygons,
    write_rois,
)
from nuclei.inference.model_file import available_cores
from nuclei.inference.predict_maps import windows
from nuclei.inference.segmenter import Segmenter
from nuclei.progress import within
from nuclei.submission.rle import to_lines

T = TypeVar("T")
R = TypeVar("R")
ENDINGS = {"labels": ".tif", "overlays": ".png", "geojson": ".geojson", "rois": ".zip", "zarr": ".ome.zarr"}
"""What can be saved of each image, in a folder of that name, and the files' endings."""
PARQUET = "parquet"
"""What is saved in place of the tables of text."""
SMALLEST_TILE = 768
"""Side in pixels of the smallest tile: most of a smaller one would be its surroundings."""
SATURATED = 0.01
"""Share of pixels at the greatest value from which on an image is called saturated."""
PICTURE = 64_000_000
"""Pixels of the largest picture of outlines; larger images are shown reduced."""
SIDE = 512
"""Of a tile in the label maps of large images, and of the smallest level of their pyramids."""
CHUNK = 1024
"""Side of a chunk of OME-Zarr."""
NGFF = "0.4"
"""Version of OME-Zarr that is written: the one that most programs read."""


@dataclass(frozen=True)
class FileSettings:
    """How files are read, and what is written of each image.

    Attributes:
        save: kinds of files, of ``ENDINGS``; ``PARQUET`` chooses the form of the tables.
        selection: channel, slice and time point to take.
        hints: what the user says of the images.
        pixel_size: side of a pixel in µm; None takes that of the file.
        tile: side in pixels of the tiles of large images, as the networks see them; None takes ``TILE``.

    Raises:
        UserError: there is no such kind of file, the pixel size is not positive, or tiles are too small.
    """

    save: tuple[str, ...] = ("labels", "overlays")
    selection: PlaneSelection = EVERYTHING
    hints: ImageHints = NO_HINTS
    pixel_size: float | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.save if kind not in (*ENDINGS, PARQUET)]:
            raise UserError(
                f"save: no kind '{unknown[0]}'; expected some of {', '.join((*ENDINGS, PARQUET))}"
            )
        check_pixel_size(self.pixel_size)
        if self.tile is not None and self.tile < SMALLEST_TILE:
            raise UserError(f"tile={self.tile}: expected at least {SMALLEST_TILE} pixels")


@dataclass(frozen=True)
class SegmentedImage:
    """The nuclei of one image, or of one page of a file.

    Attributes:
        size: (H, W).
        zoom: with which the networks saw it.
        count: number of nuclei.
        pixel_size: side of a pixel in µm, if it is known.
        notes: what was chosen: channel, slices.
        warnings: what may be wrong with image or nuclei.
        seconds: that all took.
        table: a row of measurements for each nucleus.
        runs: lines of the competition's CSV.
    """

    name: str
    size: tuple[int, int]
    modality: str
    zoom: float
    count: int
    pixel_size: float | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    table: Columns
    runs: bytes

    def row(self, file: File) -> dict[str, str | int | float | None]:
        """Return what the table of images says of it, and of the file that it comes from."""
        return {
            "image": self.name,
            "path": str(file).encode(errors="surrogateescape").decode(errors="replace"),
            "height": self.size[0],
            "width": self.size[1],
            "pixel_size_um": self.pixel_size,
            "modality": self.modality,
            "zoom": round(self.zoom, 4),
            "nuclei": self.count,
            "chosen": "; ".join(self.notes),
            "warnings": "; ".join(self.warnings),
        }


Result = list[SegmentedImage] | UserError
"""The images of a file, or the error that the file gave."""


def segment_files(
    files: Mapping[str, File],
    segmenter: Segmenter,
    output: Path,
    settings: FileSettings,
    workers: int,
    cores: int | None = None,
) -> Iterator[Result]:
    """Yield what comes of each file, in order.

    Args:
        files: each file by name.
        output: folder that takes what is saved, see ``saved_path``.
        workers: number of files at a time.
        cores: that they share; None for all that this process may use.
    """
    together = max(1, min(workers, len(files)))
    segmenter.use_threads(max(1, (cores or available_cores()) // together))

    def segment_file(file: tuple[str, File]) -> Result:
        try:
            with within(str(file[1])):
                return list(_segment_file(*file, segmenter, output, settings))
        except UserError as e:
            return e
        except Exception as e:  # one file never costs the others
            return UserError(f"{file[1]}: {type(e).__name__}: {' '.join(str(e).split())[:200]}")

    return map_in_order(segment_file, files.items(), workers)


def saved_path(output: Path, kind: str, name: str) -> Path:
    """Return where a kind of ``ENDINGS`` is saved of an image."""
    return output / kind / f"{name}{ENDINGS[kind]}"


def are_saved(output: Path, names: Iterable[str], save: Sequence[str]) -> bool:
    """Return whether all that is to be saved of some images is there."""
    return all(saved_path(output, kind, name).exists() for name in names for kind in save)


def map_in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield the results of ``work`` in order, computed in threads; at most ``workers`` of them wait.

    One worker needs no thread. After an exception, such as Ctrl-C, threads that compute are not waited for.
    """
    if workers == 1:
        yield from map(work, items)
        return
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _segment_file(
    name: str, file: File, segmenter: Segmenter, output: Path, settings: FileSettings
) -> Iterator[SegmentedImage]:
    """Yield the images of one file, and write what is to be saved of each."""
    start = time.monotonic()
    with local_copy(file) as path:
        for image in read_images(path, settings.selection, large_images.LARGE):
            yield _segment(name + image.suffix, image, segmenter, output, settings, start)
            start = time.monotonic()


def _segment(
    name: str, image: SourceImage, segmenter: Segmenter, output: Path, settings: FileSettings, start: float
) -> SegmentedImage:
    """Segment one image, write what is to be saved, and measure its nuclei."""
    sample = sample_pixels(image.shown)
    guess, doubtful = judge_modality(sample)
    modality = settings.hints.modality or guess
    found = segment(segmenter, image.shown, settings.hints, settings.tile or TILE)
    pixel_size = settings.pixel_size or image.pixel_size
    notes = list(image.notes)
    if modality == "fluorescence" and image.shown.ndim == 3:
        notes.append(f"colour on a dark ground: {nuclear_channel(sample)[1]}")
    table = measure_channels(found.by_part(), image, pixel_size)
    classes = class_names(segmenter.channels)
    if len(classes) > 1:
        table["class"] = classes_of(found.by_part(), found.maps, segmenter.channels)
    for kind in settings.save:
        path = saved_path(output, kind, name)
        if kind == "labels":
            write_labels(path, found.labels, pixel_size)
        elif kind == "overlays":
            dim = modality == "fluorescence" and image.shown.ndim == 2
            notes += write_overlay(path, image.shown, found.labels, dim)
        elif kind == "geojson":
            with atomic_write(path) as part, open(part, "w") as file:
                file.writelines(polygons(found.by_part(), classes, table))
        elif kind == "rois":
            with atomic_write(path) as part:
                write_rois(part, found.by_part())
        else:
            write_zarr(path, found.labels, pixel_size)
    height, width = image.shown.shape[:2]
    runs = [to_lines(name, p.labels, p.corner, height) for p in found.by_part() if p.labels.any()]
    return SegmentedImage(
        name,
        (height, width),
        modality,
        found.zoom,
        found.count,
        pixel_size,
        tuple(notes),
        (*image.warnings, *warnings_of(image, found.count, modality, doubtful, settings.hints)),
        time.monotonic() - start,
        table,
        b"".join(runs) or f"{name},\n".encode(),
    )


def measure_channels(parts: Iterable[LabelPart], image: SourceImage, pixel_size: float | None) -> Columns:
    """Return what ``measure_parts`` measures of an image, with the intensity of each of several channels."""
    several = len(image.channels) > 1
    planes = {name: image.read_channel(n) for n, name in enumerate(image.channels)} if several else {}
    return measure_parts(parts, image.pixels, planes, pixel_size)


def warnings_of(
    image: SourceImage, count: int, modality: str, doubtful: bool, hints: ImageHints
) -> Iterator[str]:
    """Yield what may be wrong with an image or its nuclei."""
    if count == 0:
        yield "no nuclei were found"
    if doubtful and hints.modality is None and hints.invert is None:
        yield f"taken for {modality}, which is doubtful; modality= or invert= decides"
    values = sample_pixels(image.pixels)
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else None
    if modality == "fluorescence" and top is not None and (share := np.mean(values == top)) > SATURATED:
        yield f"{share:.0%} of its pixels are saturated"


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
