"""``./run.sh predict``: the nuclei in any images, with the model in the box or an ensemble."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from nuclei.atomic import atomic_write
from nuclei.build import build_paths, build_segmenter
from nuclei.call import Call
from nuclei.data.image_io import find_images, read_pages
from nuclei.errors import UserError
from nuclei.inference.measure import measure, outline
from nuclei.inference.segmenter import Segmenter
from nuclei.progress import track
from nuclei.submission.csv_files import write_submission

T = TypeVar("T")
R = TypeVar("R")


def main(cfg: DictConfig, call: Call) -> None:
    """Read, predict, post-process and write each file, several at a time."""
    import torch

    if cfg.input is None:
        raise UserError("no input; say which image or folder: ./run.sh predict input=FOLDER output=FOLDER")
    start, files, output = time.monotonic(), find_images(Path(cfg.input)), Path(cfg.output)
    model = build_segmenter(build_paths(cfg), cfg.ensemble, cfg.weights, cfg.tta)
    if len(files) > 1:
        torch.set_num_threads(1)  # the threads have an image each

    def one(file: tuple[str, Path]) -> list[tuple[str, np.ndarray, pd.DataFrame]] | UserError:
        try:
            return [write(output, name, image, model, cfg.overlays) for name, image in read_pages(*file)]
        except UserError as e:
            return e

    tables: list[pd.DataFrame] = []
    skipped: list[UserError] = []

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for found in track(in_order(one, files.items(), cfg.workers), "predict", len(files)):
            if isinstance(found, UserError):
                print(f"skipped: {found}", file=sys.stderr)
                skipped.append(found)
                continue
            for name, labels, table in found:
                tables.append(table)
                yield name, labels

    write_submission(output / "submission.csv", rows())
    if not tables:
        raise UserError(f"{skipped[0]}; no image could be read")
    nuclei = pd.concat(tables)
    with atomic_write(output / "nuclei.csv") as part:
        nuclei.to_csv(part, index=False, float_format="%.3f")
    print(
        f"wrote {output}: {len(nuclei)} nuclei in {len(tables)} images, {len(skipped)} files skipped, "
        f"{time.monotonic() - start:.1f} s; look at {output}/overlays"
    )


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Do the work on several items at a time, few of them ahead of what is taken."""
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def write(
    output: Path, name: str, image: np.ndarray, model: Segmenter, overlays: bool
) -> tuple[str, np.ndarray, pd.DataFrame]:
    """Segment one image and write its label map (16-bit TIFF) and its overlay."""
    labels = model.labels(model.maps(image))
    depth = np.uint16 if labels.max(initial=0) < 2**16 else np.float32  # ImageJ opens both
    save(output / "labels" / f"{name}.tif", labels.astype(depth))
    if overlays:
        save(output / "overlays" / f"{name}.png", outline(image, labels)[..., ::-1])
    table = measure(labels, image)
    table.insert(0, "image", name)
    return name, labels, table


def save(path: Path, image: np.ndarray) -> None:
    """Write an image file, whole."""
    with atomic_write(path) as part:
        part.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
