"""The images that a visitor has open: uploaded files, their maps, and the nuclei at the sliders' settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from nuclei.data.image_files import csv_name
from nuclei.data.image_io import read_images
from nuclei.data.synthetic import draw_brightfield, draw_fluorescence, draw_histology, draw_nuclei
from nuclei.errors import UserError
from nuclei.inference.measure import COLOURS, class_names, classify, measure
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import with_parameters

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OTHERS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
DAMAGED = "{name} is damaged, or of a kind that cannot be decoded"
MANY = "{name} has {n:.1f} megapixels in all its pages; {left:.1f} of the {limit:g} allowed at once are left"


@dataclass(frozen=True)
class Limits:
    """Limits on uploads: size and pages of one file, and the pixels of all pages of all files together."""

    megabytes: float
    megapixels: float
    pages: int

    @property
    def size(self) -> int:
        """Greatest size of one file in bytes."""
        return int(self.megabytes * 2**20)


def take(files: Iterable[Path], limits: Limits) -> tuple[dict[str, np.ndarray], list[str]]:
    """Decode uploaded files and remove them, readable or not.

    Returns:
        Each page by a unique name, as ``nuclei.data.image_io`` shows it, and a reason for each
        refused file.
    """
    pictures: dict[str, np.ndarray] = {}
    refused: list[str] = []
    left = limits.megapixels * 1e6
    for file in files:
        try:
            for name, page in pages(file, limits, left):
                pictures[_free(name, pictures)] = page
                left -= page.shape[0] * page.shape[1]
        except UserError as e:
            refused.append(str(e))
        finally:
            file.unlink(missing_ok=True)
    return pictures, refused


def pages(file: Path, limits: Limits, left: float) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each page of a file with its name; nothing is decoded before the headers' sizes are checked.

    Raises:
        UserError: the file is too large, of more than ``left`` pixels, or no image that can be read.
    """
    try:
        size, head = file.stat().st_size, file.open("rb").read(8)
    except FileNotFoundError as e:
        raise UserError(f"{file.name} is gone; drop it again") from e
    if size > limits.size:
        raise UserError(f"{file.name} has {size / 2**20:.0f} MB; {limits.megabytes:g} are allowed")
    tiff = head.startswith(TIFF)
    if not tiff and not head.startswith(OTHERS):
        raise UserError(f"{file.name} is no PNG, JPEG or TIFF, whatever its name says")
    pixels = declared(file, tiff, limits.pages)
    if pixels > left:
        raise UserError(MANY.format(name=file.name, n=pixels / 1e6, left=left / 1e6, limit=limits.megapixels))
    try:
        yield from ((csv_name(file) + image.suffix, image.shown) for image in read_images(file))
    except UserError as e:
        raise UserError(DAMAGED.format(name=file.name)) from e


def declared(file: Path, tiff: bool, max_pages: int) -> float:
    """Return the number of pixels that a file's headers declare.

    Raises:
        UserError: the headers cannot be read, or there are more than ``max_pages`` pages.
    """
    try:
        if not tiff:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return image.width * image.height
        with tifffile.TiffFile(file) as f:
            pages = islice(cast(Sequence[tifffile.TiffPage], f.pages), max_pages + 1)
            sizes = [cost(page) for page in pages]
    except Image.DecompressionBombError:
        return np.inf
    except Exception as e:  # parsers fail in many ways on bytes made to make them fail
        raise UserError(DAMAGED.format(name=file.name)) from e
    if len(sizes) > max_pages:
        raise UserError(f"{file.name} has more than {max_pages} pages; split it")
    return sum(sizes)


def cost(page: tifffile.TiffPage) -> float:
    """Return the pixels of a TIFF's page, more where the page or its tiles take over 16 bytes a pixel."""
    size = page.imagewidth * page.imagelength
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    return max(size, tile) * max(1, page.samplesperpixel * page.bitspersample * page.imagedepth / 128)


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with a number where the name is taken."""
    names = (name, *(f"{name}_{n}" for n in range(2, 10**6)))
    return next(n for n in names if n not in taken)


COLUMNS = ["nucleus", "class", "area (px²)", "x", "y", "mean intensity"]  # of the table on the page
EXAMPLE_SHAPE = (360, 480)


@dataclass
class Session:
    """The images that a visitor has dropped, by name, and the maps of those that were shown."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def segment(self, name: str, model: Segmenter, parameters: Mapping[str, float]) -> Segmentation:
        """Return the nuclei of an image; the network runs once for each image."""
        if name not in self.maps:
            self.maps[name] = model.maps(self.images[name])
        return segment(name, self.images[name], self.maps[name], model, parameters)


@dataclass(frozen=True)
class Segmentation:
    """The nuclei of one image: uint8 (H, W) or RGB (H, W, 3), with labels int32 (H, W), 1..N.

    ``classes`` (N,) has the index of each nucleus' class in ``class_names``.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    classes: np.ndarray

    @cached_property
    def areas(self) -> np.ndarray:
        """Areas of the nuclei, (N,), in pixels."""
        return np.bincount(self.labels.ravel(), minlength=len(self.classes) + 1)[1:]

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """RGB colour of each class."""
        return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(self.class_names)}

    @property
    def counts(self) -> dict[str, int]:
        """Number of nuclei of each class."""
        counts = np.bincount(self.classes, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def table(self) -> pd.DataFrame:
        """Return number, class, area, centre and mean intensity of each nucleus; a quick computation."""
        pixels = np.flatnonzero(self.labels)
        numbers = self.labels.ravel()[pixels]
        rows, columns = np.divmod(pixels, self.labels.shape[1])
        colours = self.image.reshape(self.labels.size, -1)[pixels]

        def mean(values: np.ndarray) -> np.ndarray:
            return (np.bincount(numbers, values, minlength=len(self.areas) + 1)[1:] / self.areas).round(1)

        names = [self.class_names[n] for n in self.classes]
        means = (mean(columns), mean(rows), mean(colours.mean(axis=1)))
        values = (np.arange(1, len(names) + 1), names, self.areas, *means)
        return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))

    def measurements(self) -> pd.DataFrame:
        """Return the class of each nucleus and everything that ``nuclei.inference.measure`` measures."""
        table = pd.DataFrame(measure(self.labels, self.image))
        table.insert(0, "image", self.name)
        table.insert(2, "class", [self.class_names[n] for n in self.classes])
        return table


def segment(
    name: str, image: np.ndarray, maps: np.ndarray, model: Segmenter, parameters: Mapping[str, float]
) -> Segmentation:
    """Post-process the maps of an image with other parameters than the model's own; no network runs."""
    steps = with_parameters(model.steps, parameters)
    labels = dataclasses.replace(model, steps=steps).labels(maps)
    classes = classify(labels, maps, model.channels)
    return Segmentation(name, image, labels, class_names(model.channels), classes)


@cache
def example_images() -> dict[str, np.ndarray]:
    """Draw an image of each type of microscope, always the same: uint8, RGB (H, W, 3) or grey (H, W)."""
    draw = {"fluorescence": draw_fluorescence, "histology": draw_histology, "brightfield": draw_brightfield}
    images = {}
    for seed, (name, microscope) in enumerate(draw.items()):
        rng = np.random.default_rng(seed)
        image = microscope(rng, draw_nuclei(rng, EXAMPLE_SHAPE, count=60, radius=13, touching=0.2))
        images[name] = image if name == "histology" else image[..., 0]
    return images
