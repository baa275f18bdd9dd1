"""``./run.sh submission``: the ensemble's nuclei in the test images, as the competition's CSV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from nuclei.commands._segmenter import of_ensemble
from nuclei.data.store import Store
from nuclei.ensemble.saved import read_ensemble
from nuclei.errors import UserError
from nuclei.progress import track
from nuclei.submission.encode import write_submission
from nuclei.submission.record import made_by, write_record
from nuclei.submission.validate import validate

ROOT = Path(__file__).resolve().parents[3]


def main(cfg: DictConfig) -> None:
    """Predict with every member and fold, average, post-process, encode, validate."""
    start = time.monotonic()
    segmenter, store = of_ensemble(cfg), Store(cfg.data.store)
    ids = store.ids("test")
    print(f"{len(segmenter.voters)} networks on {len(ids)} test images")
    n_nuclei = 0

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal n_nuclei
        for image_id in track(ids, "submission"):
            labels = segmenter.labels(segmenter.maps(store.image(image_id)))
            n_nuclei += int(labels.max(initial=0))
            yield image_id, labels

    path = Path(cfg.paths.submissions) / f"{cfg.name}.csv"
    n_rows = write_submission(path, rows())
    shapes = {i: (store.row(i)["height"], store.row(i)["width"]) for i in ids}
    if violations := validate(path, shapes):
        raise UserError(
            f"{path} is not valid: {violations[0]} ({len(violations)} violations); please report this"
        )
    ensemble = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble)
    write_record(path, made_by(ensemble, ROOT))
    took = time.monotonic() - start
    print(
        f"wrote {path}: {n_rows} rows, {n_nuclei} nuclei in {len(ids)} images, valid, {took:.0f} s; "
        f"next: ./run.sh validate submission={path} data={cfg.data.name}"
    )
