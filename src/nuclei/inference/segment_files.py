"""Segment image files, several at a time, and write a label map and an overlay of each image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
import torch

from nuclei.atomic import atomic_write
from nuclei.data.image_io import read_pages
from nuclei.errors import UserError
from nuclei.inference.measure import measure, outline
from nuclei.inference.segmenter import Segmenter

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SegmentedImage:
    """The nuclei of one image, or of one page of a file.

    Attributes:
        name: of the image.
        labels: int32 (H, W), 0 for the background.
        table: a row of measurements for each nucleus, with the image's name.
    """

    name: str
    labels: np.ndarray
    table: pd.DataFrame


def segment_files(
    files: Mapping[str, Path], segmenter: Segmenter, output: Path, overlays: bool, workers: int
) -> Iterator[list[SegmentedImage] | UserError]:
    """Yield the images of each file, in order, or the error that the file gave.

    Args:
        files: path of each file by name.
        segmenter: from image to label map.
        output: folder that takes ``labels/NAME.tif`` and ``overlays/NAME.png``.
        overlays: whether to draw the overlays.
        workers: number of files at a time.
    """
    if len(files) > 1:
        torch.set_num_threads(1)  # the threads have an image each

    def segment(file: tuple[str, Path]) -> list[SegmentedImage] | UserError:
        try:
            return [_segment(name, image, segmenter, output, overlays) for name, image in read_pages(*file)]
        except UserError as e:
            return e

    return map_in_order(segment, files.items(), workers)


def map_in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield the results of ``work`` in order, computed in threads; at most ``workers`` of them wait."""
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _segment(
    name: str, image: np.ndarray, segmenter: Segmenter, output: Path, overlays: bool
) -> SegmentedImage:
    labels = segmenter.labels(segmenter.maps(image))
    depth = np.uint16 if labels.max(initial=0) < 2**16 else np.float32  # ImageJ opens both
    _write_image(output / "labels" / f"{name}.tif", labels.astype(depth))
    if overlays:
        _write_image(output / "overlays" / f"{name}.png", outline(image, labels)[..., ::-1])
    table = measure(labels, image)
    table.insert(0, "image", name)
    return SegmentedImage(name, labels, table)


def _write_image(path: Path, image: np.ndarray) -> None:
    with atomic_write(path) as part:
        part.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
