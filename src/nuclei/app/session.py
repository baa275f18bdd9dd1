"""A visitor's session: uploaded files, what is chosen of each image, the networks' maps, and the nuclei.

Uploads come from strangers: their sizes are checked before anything is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from nuclei.data.burned_in_marks import is_note
from nuclei.data.image_files import csv_name
from nuclei.data.image_io import read_images
from nuclei.data.image_stacks import SourceImage, show
from nuclei.data.preprocessing import NO_HINTS, ImageHints, Modality, judge_modality
from nuclei.data.sources.demo import draw_brightfield, draw_fluorescence, draw_histology, draw_nuclei
from nuclei.data.tiff_reader import MAGIC, imagej_planes
from nuclei.errors import UserError
from nuclei.inference import large_images
from nuclei.inference.measure import LabelPart, class_names, classify, mean_intensity
from nuclei.inference.segment_files import measure_channels, warnings_of
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import with_parameters

OTHERS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
DAMAGED = "{name} is damaged, or of a kind that cannot be decoded"
MANY = (
    "{name} has {n:.1f} megapixels in all its pages; {left:.1f} of the {limit:g} allowed at once are left; "
    "limits.megapixels= allows more when the page is started"
)
EXAMPLE_SHAPE = (360, 480)
COLUMNS = ["nucleus", "class", "area (px²)", "x", "y", "mean intensity"]  # of the table on the page
CONTROLS = {"channel": "Channel", "modality": "Modality", "invert": "Polarity", "diameter": "Diameter"}
"""The page's labels of settings that messages name as the command line does."""


@dataclass(frozen=True, eq=False)
class OpenImage:
    """An image, and what the visitor has chosen of it.

    Attributes:
        whole: the image as the reader took it, with all its channels in memory.
        source: the chosen channel of it, or ``whole``.
        channel: number of the channel from 1; 0 for ``whole``.
        hints: what the visitor says of the image.
        guess: modality that ``source`` looks like.
        doubtful: whether this is doubtful.
    """

    whole: SourceImage
    source: SourceImage
    channel: int
    hints: ImageHints
    guess: Modality
    doubtful: bool

    @property
    def modality(self) -> Modality:
        """What the image is taken for."""
        return self.hints.modality or self.guess


def open_image(whole: SourceImage, channel: int = 0, hints: ImageHints = NO_HINTS) -> OpenImage:
    """Choose a channel of an image, counted from 1, or 0 for what the reader took.

    Raises:
        IndexError: there is no such channel.
    """
    source = whole if channel == 0 else _channel(whole, channel - 1)
    return OpenImage(whole, source, channel, hints, *judge_modality(np.asarray(source.shown)))


def _channel(whole: SourceImage, index: int) -> SourceImage:
    """Return an image of one channel, which the visitor has chosen: no doubt remains about that."""
    pixels, shown, notes, warning = show(np.asarray(whole.read_channel(index)))
    name = f"channel {index + 1} of {len(whole.channels)}: {whole.channels[index]}"
    kept = (note for note in whole.notes if not note.startswith("channel ") and not is_note(note))
    notes, warnings = (name, *kept, *notes), (warning,) if warning else ()
    return replace(whole, pixels=pixels, shown=shown, notes=notes, warnings=warnings)


@dataclass(frozen=True)
class Segmentation:
    """The nuclei of one image.

    Attributes:
        image: with what is chosen of it.
        labels: ``int32 (H, W)``, 1..N.
        class_names: of all classes.
        classes: ``(N,)``, the index of each nucleus' class in ``class_names``.
    """

    name: str
    image: OpenImage
    labels: np.ndarray
    class_names: list[str]
    classes: np.ndarray

    @cached_property
    def areas(self) -> np.ndarray:
        """Areas of the nuclei, (N,), in pixels."""
        return np.bincount(self.labels.ravel(), minlength=len(self.classes) + 1)[1:]

    @property
    def counts(self) -> dict[str, int]:
        """Number of nuclei of each class."""
        counts = np.bincount(self.classes, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    @property
    def notes(self) -> list[str]:
        """What was chosen of the file, and what the image is taken for."""
        taken = "as chosen" if self.image.hints.modality else "as it looks"
        return [f"{self.image.modality}, {taken}", *self.image.source.notes]

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the image or its nuclei, with the page's labels of the settings."""
        image, count = self.image, len(self.classes)
        found = warnings_of(image.source, count, image.modality, image.doubtful, image.hints)
        lines = [in_words(line) for line in (*found, *image.source.warnings)]
        if count == 0:
            *remedies, last = self._remedies()
            lines[0] += f": try {', '.join(remedies)} or {last}"
        return lines

    def _remedies(self) -> Iterator[str]:
        """Yield what may bring out nuclei where none were found."""
        if len(self.image.whole.channels) > 1:
            yield f"another Channel ({', '.join(self.image.whole.channels)})"
        yield f"another Modality than {self.image.modality}"
        yield "the other Polarity"
        yield "lower thresholds under Post-processing"

    def table(self) -> pd.DataFrame:
        """Return number, class, area, centre and mean intensity of each nucleus; a quick computation."""
        pixels = np.flatnonzero(self.labels)
        numbers = self.labels.ravel()[pixels]
        rows, columns = np.divmod(pixels, self.labels.shape[1])

        def mean(values: np.ndarray) -> np.ndarray:
            return (np.bincount(numbers, values, minlength=len(self.areas) + 1)[1:] / self.areas).round(1)

        all_numbers = np.arange(1, len(self.classes) + 1)
        intensity = mean_intensity(self.labels, all_numbers, np.asarray(self.image.source.pixels))
        # One digit after the point tells 8 bits apart; values from 0 to 1 need more.
        brightest = float(np.nanmax(np.abs(intensity), initial=0))
        digits = 1 if brightest == 0 else max(1, 3 - int(np.floor(np.log10(brightest))))
        names = [self.class_names[n] for n in self.classes]
        values = (all_numbers, names, self.areas, mean(columns), mean(rows), intensity.round(digits))
        return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))

    def measurements(self) -> pd.DataFrame:
        """Return the class of each nucleus and everything that ``nuclei.inference.measure`` measures."""
        source = self.image.source
        table = pd.DataFrame(measure_channels([LabelPart(self.labels)], source, source.pixel_size))
        table.insert(0, "image", self.name)
        table.insert(2, "class", [self.class_names[n] for n in self.classes])
        return table


def in_words(line: str) -> str:
    """Return a message with the page's labels in place of the command line's settings.

    >>> in_words("modality= or invert= decides")
    'Modality or Polarity decides'
    """
    settings = rf"\b({'|'.join(CONTROLS)})=(?=(\S?))"
    return re.sub(settings, lambda match: CONTROLS[match[1]] + " " * len(match[2]), line)


def segment(
    name: str, image: OpenImage, maps: np.ndarray, model: Segmenter, parameters: Mapping[str, float]
) -> Segmentation:
    """Post-process the maps of an image with other parameters than the model's own; no network runs."""
    steps = with_parameters(model.steps, parameters)
    labels = replace(model, steps=steps).labels(maps)
    classes = classify(labels, maps, model.channels)
    return Segmentation(name, image, labels, class_names(model.channels), classes)


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


def take(files: Iterable[Path], limits: Limits) -> tuple[dict[str, OpenImage], list[str]]:
    """Decode uploaded files and remove them, readable or not.

    Returns:
        Each image, or page, by a unique name, and a reason for each refused file.
    """
    pictures: dict[str, OpenImage] = {}
    refused: list[str] = []
    left = limits.megapixels * 1e6
    for file in files:
        try:
            for name, page in pages(file, limits, left):
                pictures[_free(name, pictures)] = open_image(page)
                planes = 1 if page.pixels.ndim == 3 else len(page.channels)
                left -= planes * page.shown.shape[0] * page.shown.shape[1]
        except UserError as e:
            refused.append(str(e))
        finally:
            file.unlink(missing_ok=True)
    return pictures, refused


def pages(file: Path, limits: Limits, left: float) -> Iterator[tuple[str, SourceImage]]:
    """Yield each page of a file with its name; nothing is decoded before the headers' sizes are checked.

    Raises:
        UserError: the file is too large, of more than ``left`` pixels, or no image that can be read.
    """
    try:
        size, head = file.stat().st_size, file.open("rb").read(8)
    except FileNotFoundError as e:
        raise UserError(f"{file.name} is gone; drop it again") from e
    if size > limits.size:
        raise UserError(
            f"{file.name} has {size / 2**20:.0f} MB; {limits.megabytes:g} are allowed (limits.megabytes=)"
        )
    tiff = head.startswith(MAGIC)
    if not tiff and not head.startswith(OTHERS):
        raise UserError(f"{file.name} is no PNG, JPEG or TIFF, whatever its name says")
    pixels = declared(file, tiff, limits.pages)
    if pixels > left:
        raise UserError(MANY.format(name=file.name, n=pixels / 1e6, left=left / 1e6, limit=limits.megapixels))
    try:
        yield from (
            (csv_name(file) + image.suffix, in_memory(image)) for image in read_images(file, alone=True)
        )
    except UserError as e:
        raise UserError(DAMAGED.format(name=file.name)) from e


def in_memory(image: SourceImage) -> SourceImage:
    """Return an image whose channels can be read when its file is gone."""
    pixels = _compact(np.asarray(image.pixels))
    if pixels.ndim == 3:
        planes = list(np.moveaxis(pixels, 2, 0))
    elif len(image.channels) > 1:
        planes = [_compact(np.asarray(image.read_channel(n))) for n in range(len(image.channels))]
    else:
        planes = [pixels]
    return replace(image, pixels=pixels, read_channel=planes.__getitem__)


def _compact(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in at most 4 bytes for each value."""
    return pixels.astype(np.float32) if pixels.dtype.itemsize > 4 else pixels


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
            if (planes := imagej_planes(f)) > len(sizes):
                sizes = sizes[:1] * min(planes, max_pages + 1)
    except Image.DecompressionBombError:
        return np.inf
    except Exception as e:  # parsers fail in many ways on bytes made to make them fail
        raise UserError(DAMAGED.format(name=file.name)) from e
    if len(sizes) > max_pages:
        raise UserError(f"{file.name} has more than {max_pages} pages; split it, or start with limits.pages=")
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


@dataclass
class Session:
    """The images that a visitor has open, by name, and the maps of those that were shown.

    Maps stand beside the image as it was chosen, and hold for this choice alone.
    """

    images: dict[str, OpenImage] = field(default_factory=dict)
    maps: dict[str, tuple[OpenImage, np.ndarray]] = field(default_factory=dict)

    def has_maps(self, name: str | None) -> bool:
        """Return whether the nuclei of an image can be shown without a run of the network."""
        return name in self.maps and self.maps[name][0] is self.images.get(name)

    def segment(self, name: str, model: Segmenter, parameters: Mapping[str, float]) -> Segmentation:
        """Return the nuclei of an image; the network runs once for each choice of channel and hints.

        Raises:
            UserError: the model does not take the hints.
        """
        image = self.images[name]
        chosen, maps = self.maps.get(name, (None, None))
        if maps is None or chosen is not image:
            maps = np.asarray(large_images.segment(model, image.source.shown, image.hints).maps)
            self.maps[name] = image, maps
        return segment(name, image, maps, model, parameters)


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
