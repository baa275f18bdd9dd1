"""``./run.sh bundle``: source, configs, wheels and weights in one zip for Kaggle's notebooks."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from nuclei.build import build_paths
from nuclei.call import Call
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.kaggle.bundle import Entry, chosen, project, weights, wheels, write_bundle
from nuclei.paths import ROOT
from nuclei.submission.submission_record import digest

NAME = "nuclei.zip"


def main(cfg: DictConfig, call: Call) -> None:
    """Write the zip and say what is in it."""
    paths = build_paths(cfg)
    folder = paths.bundle.parent
    runs = [cfg.runs] if isinstance(cfg.runs, str) else cfg.runs
    whole = read_ensemble(paths.ensemble(cfg.ensemble))
    ensemble = chosen(whole, runs)
    settings = {key: cfg[key] for key in ("ensemble", "tta", "time_limit", "train")} | {"data": cfg.data.name}
    entries: list[Entry] = [
        ("bundle.json", json.dumps(settings, indent=2, sort_keys=True) + "\n"),
        (f"folds/{cfg.data.name}.csv", Path(cfg.data.folds)),
        *project(ROOT),
        *weights(ensemble, paths, cfg.ensemble),
        *wheels(ROOT / "kernels" / "dataset" / "wheels.txt", folder / "wheels"),
    ]
    write_bundle(folder / NAME, entries)
    print("members: " + ", ".join(f"{m.run} {m.weight:.3f}" for m in ensemble.members))
    if ensemble.members != whole.weighted:
        print("left out members: the weights are scaled to sum to 1; the post-processing is that of all")
    size = (folder / NAME).stat().st_size / 1e6
    print(
        f"wrote {folder / NAME}: {len(entries)} files, {size:.1f} MB, sha256 {digest(folder / NAME)}; "
        "next: ./run.sh push owner=YOUR_KAGGLE_NAME"
    )
