"""``./run.sh analyse``: where out-of-fold predictions lose their score, as one HTML file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from nuclei.analysis.findings import Subject
from nuclei.analysis.report import Sources, write_report
from nuclei.build import build, build_paths, build_steps
from nuclei.call import Call
from nuclei.commands.score import steps_of
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.oof import check_same_images, load_oof
from nuclei.paths import RunName


def main(cfg: DictConfig, call: Call) -> None:
    """Analyse every image and write the report."""
    start = time.monotonic()
    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    check_same_images(store.ids("train"), rows, build_paths(cfg))
    subject = subject_of(cfg, rows, cfg.run or cfg.ensemble, is_run=bool(cfg.run))
    other = subject_of(cfg, rows, cfg.compare, is_run="/" in cfg.compare) if cfg.compare else None
    paths = build_paths(cfg)
    scores = None if cfg.run else paths.scores(cfg.ensemble)
    root = Path(cfg.data.root)
    sources = Sources(
        cfg.data.name,
        store,
        rows,
        subject,
        other,
        nested_score=None if cfg.run else read_ensemble(paths.ensemble(cfg.ensemble)).nested,
        recorded_scores=pd.read_csv(scores) if scores and scores.is_file() else None,
        data_root=root,
        items=build(cfg.data.source).items("train") if root.exists() else None,
    )
    name = (cfg.run or f"ensemble_{cfg.ensemble}") + (f"_vs_{cfg.compare}" if cfg.compare else "")
    path = paths.report(name)
    tiles = write_report(path, sources, examples=cfg.examples, suspects=cfg.suspects, workers=cfg.workers)
    figures = ", ".join(" ".join(filter(None, tile)) for tile in tiles if "mAP" in tile.name)
    print(
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - start:.0f} s; "
        f"{figures}; next: open it in a browser"
    )


def subject_of(cfg: DictConfig, rows: Sequence[FoldRow], name: str, is_run: bool) -> Subject:
    """Load a run with its own post-processing, or an ensemble with what was tuned for it."""
    paths, sha256 = build_paths(cfg), folds_sha256(cfg.data.folds)
    if is_run:
        run = RunName.parse(name)
        member = load_oof(paths.run(run), rows, sha256)
        steps = steps_of(cfg, paths.fold(run, 0))
        return Subject(name, (member,), (1.0,), member.channels, tuple(steps))
    ensemble = read_ensemble(paths.ensemble(name))
    members = tuple(load_oof(paths.run(member.run), rows, sha256) for member in ensemble.members)
    for member in members:
        ensemble.check_channels(paths.run(RunName.parse(member.name)), member.channels)
    weights = tuple(member.weight for member in ensemble.members)
    return Subject(
        f"ensemble {name}", members, weights, ensemble.channels, tuple(build_steps(ensemble.steps))
    )
