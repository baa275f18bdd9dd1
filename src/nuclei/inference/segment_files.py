"""Segment image files, several at a time, and write label maps and pictures of each image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from nuclei.atomic import atomic_write
from nuclei.data.image_files import File
from nuclei.data.image_io import read_images
from nuclei.data.image_stacks import EVERYTHING, PlaneSelection, SourceImage, sample_pixels
from nuclei.data.image_stores import local_copy
from nuclei.data.preprocessing import (
    NO_HINTS,
    ImageHints,
    check_pixel_size,
    judge_modality,
    nuclear_channel,
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
    polygons,
    write_rois,
)
from nuclei.inference.onnx_network import available_cores
from nuclei.inference.result_files import write_labels, write_overlay, write_zarr
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
