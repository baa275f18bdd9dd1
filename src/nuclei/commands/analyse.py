"""``./run.sh analyse``: where out-of-fold predictions lose their score, as one HTML file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.analysis.findings import Subject
from nuclei.analysis.report import Sources, write_report
from nuclei.call import Call
from nuclei.commands.ensemble import same_images
from nuclei.commands.score import steps_of
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import check_maps, read_ensemble
from nuclei.ensemble.oof import load_oof
from nuclei.errors import UserError


def main(cfg: DictConfig, call: Call) -> None:
    """Analyse every image and write the report."""
    start = time.monotonic()
    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    same_images(cfg, store, rows)
    subject = subject_of(cfg, rows, cfg.run or cfg.ensemble, is_run=bool(cfg.run))
    other = subject_of(cfg, rows, cfg.compare, is_run="/" in cfg.compare) if cfg.compare else None
    ensemble = None if cfg.run else Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble
    scores = ensemble and ensemble / "scores.csv"
    root = Path(cfg.data.root)
    sources = Sources(
        cfg.data.name,
        store,
        rows,
        subject,
        other,
        nested_score=read_ensemble(ensemble)["score"]["nested"] if ensemble else None,
        recorded_scores=pd.read_csv(scores) if scores and scores.is_file() else None,
        data_root=root,
        items=instantiate(cfg.data.source).items("train") if root.exists() else None,
    )
    name = (cfg.run or f"ensemble_{cfg.ensemble}") + (f"_vs_{cfg.compare}" if cfg.compare else "")
    path = Path(cfg.paths.reports) / cfg.data.name / f"{name.replace('/', '_')}.html"
    tiles = write_report(path, sources, examples=cfg.examples, suspects=cfg.suspects, workers=cfg.workers)
    figures = ", ".join(" ".join(filter(None, tile)) for tile in tiles if "mAP" in tile.name)
    print(
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - start:.0f} s; "
        f"{figures}; next: open it in a browser"
    )


def subject_of(cfg: DictConfig, rows: Sequence[dict[str, Any]], name: str, is_run: bool) -> Subject:
    """Load a run with its own post-processing, or an ensemble with what was tuned for it."""
    runs, sha256 = Path(cfg.paths.runs) / cfg.data.name, folds_sha256(cfg.data.folds)
    if is_run:
        if len(Path(name).parts) != 2:
            raise UserError(f"run={name}: expected MODEL/NAME, for example run=unet/default")
        member = load_oof(runs / name, rows, sha256)
        return Subject(name, (member,), (1.0,), member.channels, tuple(steps_of(cfg, runs / name)))
    ensemble = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / name)
    members = tuple(load_oof(runs / m["run"], rows, sha256) for m in ensemble["members"])
    for member in members:
        check_maps(ensemble, name, runs / member.name, member.channels)
    steps = tuple(instantiate(step) for step in ensemble["steps"])
    weights = tuple(float(m["weight"]) for m in ensemble["members"])
    return Subject(f"ensemble {name}", members, weights, tuple(ensemble["channels"]), steps)
