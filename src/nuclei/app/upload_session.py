"""The images that one visitor has open, their maps, and the nuclei in them at the settings of the sliders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import pandas as pd

from nuclei.data.synthetic import draw_brightfield, draw_fluorescence, draw_histology, draw_nuclei
from nuclei.inference.measure import class_names, classify, measure
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import with_parameters

COLUMNS = ["nucleus", "class", "area (px²)", "x", "y", "mean intensity"]  # of the table on the page
# Okabe and Ito's colours, which people with colour-blindness tell apart.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
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
    """The nuclei of one image.

    Attributes:
        name: name of the image.
        image: uint8 (H, W) or RGB (H, W, 3).
        labels: int32 (H, W), 1..N.
        class_names: names of the classes.
        classes: (N,), index of each nucleus' class in ``class_names``.
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
        table = measure(self.labels, self.image)
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
