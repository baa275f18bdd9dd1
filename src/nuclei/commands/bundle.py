"""``./run.sh bundle``: source, configs, wheels and weights in one zip for Kaggle's notebooks."""

from __future__ import annotations

import json

from omegaconf import DictConfig

from nuclei.build import as_names, build_paths
from nuclei.config import Call, override_words
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.kaggle.bundle import Entry, keep_members, network_files, project_files, wheel_files, write_bundle
from nuclei.paths import PROGRAM, ROOT
from nuclei.submission.make_submission import sha256_of


def main(cfg: DictConfig, call: Call) -> None:
    """Write the zip and say what is in it."""
    paths = build_paths(cfg)
    full_ensemble = read_ensemble(paths.ensemble(cfg.ensemble))
    ensemble = keep_members(full_ensemble, as_names(cfg.runs))
    settings = {key: cfg[key] for key in ("ensemble", "tta", "time_limit")}
    settings |= {"data": paths.data, "train": override_words(cfg.train)}
    entries: list[Entry] = [
        ("bundle.json", json.dumps(settings, indent=2, sort_keys=True) + "\n"),
        (f"folds/{paths.data}.csv", paths.folds),
        *project_files(ROOT),
        *network_files(ensemble, paths, cfg.ensemble),
        *wheel_files(ROOT / "kernels" / "dataset" / "wheels.txt", paths.bundle.parent / "wheels"),
    ]
    write_bundle(paths.bundle, entries)
    print("members: " + ", ".join(f"{m.run} {m.weight:.3f}" for m in ensemble.members))
    if ensemble.members != full_ensemble.weighted:
        print("left out members: the weights are scaled to sum to 1; the post-processing is that of all")
    size = paths.bundle.stat().st_size / 1e6
    print(
        f"wrote {paths.bundle}: {len(entries)} files, {size:.1f} MB, sha256 {sha256_of(paths.bundle)}; "
        f"next: {PROGRAM} push owner=YOUR_KAGGLE_NAME"
    )
