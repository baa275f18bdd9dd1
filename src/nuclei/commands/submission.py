"""``./run.sh submission``: the ensemble's nuclei in the test images, as the competition's CSV."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from nuclei.build import build_paths, ensemble_segmenter
from nuclei.call import Call
from nuclei.data.sources.dsb2018 import find_test_images, read_or_warn
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.errors import UserError
from nuclei.inference.time_budget import TimeBudget
from nuclei.paths import ROOT
from nuclei.progress import track
from nuclei.submission.csv_files import write_submission
from nuclei.submission.rules import find_violations
from nuclei.submission.submission_record import describe_ensemble, write_record

NO_NUCLEI = np.zeros((1, 1), np.int32)


def main(cfg: DictConfig, call: Call) -> None:
    """Predict with every member and fold, average, post-process, encode, validate."""
    start = time.monotonic()
    paths = build_paths(cfg)
    ensemble = read_ensemble(paths.ensemble(cfg.ensemble))
    segmenter, images = ensemble_segmenter(ensemble, paths, cfg.tta), test_images(cfg)
    print(f"{len(segmenter.networks)} networks on {len(images)} test images")
    limit = cfg.time_limit and max(0.0, cfg.time_limit - (time.monotonic() - start))
    budget = TimeBudget(segmenter, len(images), limit)
    shapes: dict[str, tuple[int, int] | None] = {}
    n_nuclei = 0

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal n_nuclei
        for image_id, read in track(images.items(), "submission", len(images)):
            image = read()
            shapes[image_id] = None if image is None else (image.shape[0], image.shape[1])
            labels = NO_NUCLEI if image is None else budget.labels(image)
            n_nuclei += int(labels.max(initial=0))
            yield image_id, labels

    path = paths.submission(cfg.name)
    n_rows = write_submission(path, rows())
    if violations := find_violations(path, shapes):
        raise UserError(
            f"{path} is not valid: {violations[0]} ({len(violations)} violations); please report this"
        )
    write_record(path, describe_ensemble(ensemble, call.text, ROOT))
    print(f"{budget.report()}; at most {peak_memory():.1f} GB of memory")
    took = time.monotonic() - start
    print(
        f"wrote {path}: {n_rows} rows, {n_nuclei} nuclei in {len(images)} images, valid, {took:.0f} s; "
        f"next: ./run.sh validate submission={path} data={cfg.data.name}"
    )


def test_images(cfg: DictConfig) -> dict[str, Callable[[], np.ndarray | None]]:
    """Name each test image and how to read it: from the store, or from the competition's own files."""
    if cfg.images:
        return {item.image_id: partial(read_or_warn, item) for item in find_test_images(Path(cfg.images))}
    store = Store(cfg.data.store)
    return {image_id: partial(store.image, image_id) for image_id in store.ids("test")}


def peak_memory() -> float:
    """Return the most memory that this process has had, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
