"""``./run.sh predict``: the nuclei in any images, with the model of the project or an ensemble."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from nuclei.atomic import atomic_write
from nuclei.build import build_paths, build_segmenter
from nuclei.config import Call
from nuclei.data.image_io import find_images
from nuclei.errors import UserError
from nuclei.inference.segment_files import segment_files
from nuclei.progress import track
from nuclei.submission.csv_files import write_submission


def main(cfg: DictConfig, call: Call) -> None:
    """Read, predict, post-process and write each file, several at a time."""
    if cfg.input is None:
        raise UserError("no input; say which image or folder: ./run.sh predict input=FOLDER output=FOLDER")
    start, files, output = time.monotonic(), find_images(Path(cfg.input)), Path(cfg.output)
    segmenter = build_segmenter(build_paths(cfg), cfg.ensemble, cfg.weights, cfg.tta)
    results = segment_files(files, segmenter, output, cfg.overlays, cfg.workers)
    tables: list[pd.DataFrame] = []
    skipped: list[UserError] = []

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for result in track(results, "predict", len(files)):
            if isinstance(result, UserError):
                print(f"skipped: {result}", file=sys.stderr)
                skipped.append(result)
                continue
            for image in result:
                tables.append(image.table)
                yield image.name, image.labels

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
