"""One open image: what is chosen of it, its nuclei at the sliders' settings, and what may be wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nuclei.data.image_stacks import SourceImage, show
from nuclei.data.preprocessing import NO_HINTS, ImageHints, Modality, judge_modality
from nuclei.data.scale_bars import is_note
from nuclei.inference.measure import LabelPart, class_names, classify, mean_intensity
from nuclei.inference.segment_files import measure_channels, warnings_of
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import with_parameters

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
    return dataclasses.replace(whole, pixels=pixels, shown=shown, notes=notes, warnings=warnings)


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
    labels = dataclasses.replace(model, steps=steps).labels(maps)
    classes = classify(labels, maps, model.channels)
    return Segmentation(name, image, labels, class_names(model.channels), classes)
