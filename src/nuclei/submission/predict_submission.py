"""Predict the test images one by one into a submission, and check the file that was written."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from nuclei.data.sources.dsb2018 import find_test_images, read_or_warn
from nuclei.data.store import Store
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission.csv_files import write_submission
from nuclei.submission.rules import find_violations

ReadImage = Callable[[], np.ndarray | None]
"""Returns an image, or None where its file cannot be read."""
NO_NUCLEI = np.zeros((1, 1), np.int32)


def test_images(folder: Path | None, store: Path) -> dict[str, ReadImage]:
    """Return how to read each test image.

    Args:
        folder: with the competition's files; None for the images in the store.
        store: the store.
    """
    if folder is not None:
        return {item.image_id: partial(read_or_warn, item) for item in find_test_images(folder)}
    images = Store(store)
    return {image_id: partial(images.image, image_id) for image_id in images.ids("test")}


def predict_submission(
    path: Path, images: Mapping[str, ReadImage], segment: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int]:
    """Write the nuclei of all images as the competition's CSV.

    Args:
        path: of the CSV.
        images: how to read each image; one that cannot be read gets no nuclei.
        segment: returns the label map int32 (H, W) of an image.

    Returns:
        The number of rows, and of nuclei.

    Raises:
        UserError: the file breaks a rule of the competition.
    """
    shapes: dict[str, tuple[int, int] | None] = {}
    counts: list[int] = []

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for image_id, read in track(images.items(), "submission", len(images)):
            image = read()
            shapes[image_id] = None if image is None else (image.shape[0], image.shape[1])
            labels = NO_NUCLEI if image is None else segment(image)
            counts.append(int(labels.max(initial=0)))
            yield image_id, labels

    n_rows = write_submission(path, rows())
    if violations := find_violations(path, shapes):
        raise UserError(
            f"{path} is not valid: {violations[0]} ({len(violations)} violations); please report this"
        )
    return n_rows, sum(counts)


def peak_gigabytes() -> float:
    """Return the most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
