"""``./run.sh analyse``: where out-of-fold predictions lose their score, as one HTML file."""

from __future__ import annotations

import time
from functools import partial

import pandas as pd
from omegaconf import DictConfig

from nuclei.analysis.image_analysis import load_subject
from nuclei.analysis.report import Sources, write_report
from nuclei.build import build, build_paths, build_postprocess
from nuclei.config import Call
from nuclei.data.folds import read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.oof import check_same_images
from nuclei.errors import UserError


def main(cfg: DictConfig, call: Call) -> None:
    """Analyse every image and write the report."""
    start = time.monotonic()
    paths = build_paths(cfg)
    store, rows = Store(paths.store), read_folds(paths.folds)
    check_same_images(store.ids("train"), rows, paths)
    if cfg.get("postprocess") and not (cfg.run or "/" in (cfg.compare or "")):
        raise UserError(
            "postprocess= is of runs, and an ensemble has its own: add run=MODEL/NAME, or leave it out"
        )
    override = build_postprocess(cfg.postprocess) if cfg.get("postprocess") else None
    load = partial(load_subject, paths=paths, rows=rows, steps=override)
    subject = load(cfg.run or cfg.ensemble, is_run=bool(cfg.run))
    other = load(cfg.compare, is_run="/" in cfg.compare) if cfg.compare else None
    scores = None if cfg.run else paths.scores(cfg.ensemble)
    sources = Sources(
        cfg.data.name,
        store,
        rows,
        subject,
        other,
        nested_score=None if cfg.run else read_ensemble(paths.ensemble(cfg.ensemble)).nested,
        recorded_scores=pd.read_csv(scores) if scores and scores.is_file() else None,
        data_root=paths.root,
        items=build(cfg.data.source).items("train") if paths.root.exists() else None,
    )
    name = (cfg.run or f"ensemble_{cfg.ensemble}") + (f"_vs_{cfg.compare}" if cfg.compare else "")
    path = paths.report(name)
    tiles = write_report(path, sources, examples=cfg.examples, suspects=cfg.suspects, workers=cfg.workers)
    figures = ", ".join(" ".join(filter(None, tile)) for tile in tiles if "mAP" in tile.name)
    print(
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - start:.0f} s; "
        f"{figures}; next: open it in a browser"
    )
