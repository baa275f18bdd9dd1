"""What one visitor has open: images, their maps once predicted, and what the settings make of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from nuclei.inference.measure import class_names, classify, measure
from nuclei.inference.segmenter import Segmenter
from nuclei.postprocess.pipeline import with_parameters

COLUMNS = ["nucleus", "class", "area (px²)", "x", "y", "mean intensity"]  # of the table on the page
# Okabe and Ito's colours, which people with colour-blindness tell apart.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))


@dataclass
class Session:
    """The images a visitor has dropped, by name, and the maps of those that were looked at."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def found(self, name: str, model: Segmenter, parameters: Mapping[str, float]) -> Found:
        """The nuclei of an image; its maps are predicted once."""
        if name not in self.maps:
            self.maps[name] = model.maps(self.images[name])
        return find(name, self.images[name], self.maps[name], model, parameters)


@dataclass(frozen=True)
class Found:
    """The nuclei of one image.

    Attributes:
        name: of the image.
        image: ``uint8 (H, W)`` or RGB ``(H, W, 3)``.
        labels: ``int32 (H, W)``, 1..N.
        names: of the classes.
        classes: ``(N,)``, for each nucleus its place in ``names``.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    names: list[str]
    classes: np.ndarray

    @cached_property
    def areas(self) -> np.ndarray:
        """``(N,)``, in pixels."""
        return np.bincount(self.labels.ravel(), minlength=len(self.classes) + 1)[1:]

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """RGB of each class."""
        return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(self.names)}

    @property
    def counts(self) -> dict[str, int]:
        """How many nuclei each class has."""
        held = np.bincount(self.classes, minlength=len(self.names))
        return dict(zip(self.names, held.tolist(), strict=True))

    def table(self) -> pd.DataFrame:
        """Number, class, area, centre and mean brightness of each nucleus: what is quick to count."""
        pixels = np.flatnonzero(self.labels)
        owners = self.labels.ravel()[pixels]
        rows, columns = np.divmod(pixels, self.labels.shape[1])
        colours = self.image.reshape(self.labels.size, -1)[pixels]

        def mean(values: np.ndarray) -> np.ndarray:
            return (np.bincount(owners, values, minlength=len(self.areas) + 1)[1:] / self.areas).round(1)

        names = [self.names[n] for n in self.classes]
        numbers = np.arange(1, len(names) + 1)
        values = (numbers, names, self.areas, mean(columns), mean(rows), mean(colours.mean(axis=1)))
        return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))

    def measured(self) -> pd.DataFrame:
        """All that ``nuclei.inference.measure`` measures, with the class."""
        table = measure(self.labels, self.image)
        table.insert(0, "image", self.name)
        table.insert(2, "class", [self.names[n] for n in self.classes])
        return table


def find(
    name: str, image: np.ndarray, maps: np.ndarray, model: Segmenter, parameters: Mapping[str, float]
) -> Found:
    """Post-process maps with other parameters than the model's own; no network runs."""
    steps = with_parameters(model.steps, parameters)
    labels = dataclasses.replace(model, steps=steps).labels(maps)
    return Found(name, image, labels, class_names(model.channels), classify(labels, maps, model.channels))
