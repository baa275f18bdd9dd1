"""The demo data set: drawn images in the competition's layout and modalities."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nuclei.atomic import atomic_folder
from nuclei.data import synthetic
from nuclei.data.sources import Split
from nuclei.data.sources.dsb2018 import Dsb2018, Dsb2018Item
from nuclei.progress import track
from nuclei.submission import rle

SIZES = ((256, 256), (256, 320), (192, 256), (256, 256), (300, 300))


@dataclass(frozen=True)
class Specimen:
    """How one kind of image is drawn: by what, with which mean radius in pixels and number of nuclei."""

    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    radius: float
    count: int


# Magnifications as in the competition.
SPECIMENS = (
    Specimen(synthetic.draw_fluorescence, 7.0, 70),
    Specimen(synthetic.draw_fluorescence, 11.0, 40),
    Specimen(synthetic.draw_histology, 11.0, 45),
    Specimen(synthetic.draw_fluorescence, 18.0, 16),
    Specimen(synthetic.draw_brightfield, 8.0, 30),
    Specimen(synthetic.draw_fluorescence, 6.0, 140),
    Specimen(synthetic.draw_histology, 15.0, 22),
    Specimen(synthetic.draw_fluorescence, 9.0, 5),
)


class DemoItem(Dsb2018Item):
    """An image of the demo, whose nuclei have classes."""

    def classes(self, labels: np.ndarray) -> list[int]:
        """Return 1 for small, 2 for round, 3 for long nuclei; see ``shape_classes``."""
        return synthetic.shape_classes(labels)


class Demo(Dsb2018):
    """The competition's layout, with files that are drawn when they are first needed; see ``draw_demo``."""

    def __init__(self, root: str | Path, seed: int, n_train: int, n_test: int) -> None:
        super().__init__(root)
        self.seed, self.n_train, self.n_test = seed, n_train, n_test

    def fetch(self) -> None:
        if not self.root.exists():
            draw_demo(self.root, self.seed, self.n_train, self.n_test)

    def items(self, split: Split) -> list[Dsb2018Item]:
        return [DemoItem(**vars(item)) for item in super().items(split)]


def draw_demo(root: Path, seed: int, n_train: int, n_test: int) -> None:
    """Draw a data set in Kaggle's layout: images, a mask for each nucleus, and the CSV files.

    Writes ``stage1_train/``, ``stage1_test/``, ``stage1_train_labels.csv``,
    ``stage1_sample_submission.csv`` and ``stage1_solution.csv``; all of it or nothing. The folder must not
    exist yet; the same seed gives the same pixels.

    Raises:
        UserError: the folder cannot be written.
    """
    jobs = [("train", n) for n in range(n_train)] + [("test", n) for n in range(n_test)]
    tables: dict[str, list[list[str]]] = {"train": [], "test": []}
    with atomic_folder(root, "data.root=FOLDER") as part:
        for split, n in track(jobs, "draw demo images"):
            tables[split] += _draw(part, split, n, seed)
        _write_tables(part, tables)


def _draw(root: Path, split: str, n: int, seed: int) -> list[list[str]]:
    """Draw one image with its masks and return its rows of the solution."""
    rng = np.random.default_rng((seed, split == "test", n))
    specimen = SPECIMENS[n % len(SPECIMENS)]
    shape = SIZES[int(rng.integers(len(SIZES)))]
    count = max(1, round(specimen.count * rng.uniform(0.5, 1.4)))
    radius = specimen.radius * rng.uniform(0.85, 1.15)
    labels = synthetic.draw_nuclei(rng, shape, count, radius, touching=0.45)
    image = specimen.draw(rng, labels)
    image_id = hashlib.sha256(f"{seed} {split} {n}".encode()).hexdigest()
    folder = root / f"stage1_{split}" / image_id
    _write_png(folder / "images" / f"{image_id}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGRA))
    if split == "train":
        for label in range(1, int(labels.max(initial=0)) + 1):
            name = hashlib.sha256(f"{image_id} {label}".encode()).hexdigest()
            _write_png(folder / "masks" / f"{name}.png", np.where(labels == label, 255, 0).astype(np.uint8))
    texts = [rle.to_text(runs) for runs in rle.encode(labels)] or [""]
    return [[image_id, text, str(shape[0]), str(shape[1]), "Public"] for text in texts]


def _write_png(path: Path, a: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", a, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())


def _write_tables(root: Path, tables: dict[str, list[list[str]]]) -> None:
    header = ["ImageId", "EncodedPixels", "Height", "Width", "Usage"]
    ids = dict.fromkeys(row[0] for row in tables["test"])
    files: dict[str, list[list[str]]] = {
        "stage1_solution.csv": [header, *tables["test"]],
        "stage1_train_labels.csv": [header[:2], *(row[:2] for row in tables["train"])],
        "stage1_sample_submission.csv": [header[:2], *([i, ""] for i in ids)],
    }
    for name, rows in files.items():
        with open(root / name, "w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows(rows)
