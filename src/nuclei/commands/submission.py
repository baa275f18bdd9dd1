"""``./run.sh submission``: the ensemble's nuclei in the test images, as the competition's CSV."""

from __future__ import annotations

import time
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build_paths
from nuclei.config import Call
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.model_loading import ensemble_segmenter
from nuclei.paths import ROOT
from nuclei.submission.make_submission import (
    TimeBudget,
    describe_ensemble,
    peak_gigabytes,
    predict_submission,
    test_images,
    write_record,
)


def main(cfg: DictConfig, call: Call) -> None:
    """Predict with every member and fold, average, post-process, encode, validate."""
    start = time.monotonic()
    paths = build_paths(cfg)
    path = paths.submission(cfg.name)
    file = paths.ensemble(cfg.ensemble)
    ensemble = read_ensemble(file)
    segmenter = ensemble_segmenter(ensemble, file, paths, cfg.tta)
    images = test_images(Path(cfg.images) if cfg.images else None, paths.store)
    print(f"{len(segmenter.networks)} networks on {len(images)} test images")
    limit = cfg.time_limit and max(0.0, cfg.time_limit - (time.monotonic() - start))
    budget = TimeBudget(segmenter, len(images), limit)
    n_rows, n_nuclei = predict_submission(path, images, budget.labels)
    write_record(path, describe_ensemble(ensemble, call.text, ROOT))
    print(f"{budget.report()}; at most {peak_gigabytes():.1f} GB of memory")
    took = time.monotonic() - start
    print(
        f"wrote {path}: {n_rows} rows, {n_nuclei} nuclei in {len(images)} images, valid, {took:.0f} s; "
        f"next: {call.next('validate', cfg.data.name, f'submission={path}')}"
    )
