"""``./run.sh analyse``: where out-of-fold predictions lose their score, as one HTML file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from nuclei.analysis import tables
from nuclei.analysis.findings import Findings, Subject, examine_all
from nuclei.analysis.image_cards import card, mask_file, ranked, suspect_cards
from nuclei.analysis.label_suspects import Suspect, worst
from nuclei.analysis.report import render
from nuclei.analysis.report_contents import contents, described, suspects_table
from nuclei.analysis.training_curves import training, training_logs
from nuclei.atomic import atomic_write
from nuclei.commands.ensemble import same_images
from nuclei.commands.score import steps_of
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import check_maps, read_ensemble
from nuclei.ensemble.oof import load_oof
from nuclei.errors import UserError
from nuclei.progress import track

SECTIONS = {
    "summary": "Summary",
    "lost": "Errors",
    "thresholds": "Thresholds",
    "groups": "Groups",
    "members": "Members",
    "compare": "Compared",
    "calibration": "Calibration",
    "training": "Training",
    "worst": "Worst",
    "best": "Best",
    "suspects": "Labels in doubt",
    "images": "All images",
}


def main(cfg: DictConfig) -> None:
    """Examine every image, then write the report."""
    start = time.monotonic()
    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    same_images(cfg, store, rows)
    subject = subject_of(cfg, rows, cfg.run or cfg.ensemble, is_run=bool(cfg.run))
    other = subject_of(cfg, rows, cfg.compare, is_run="/" in cfg.compare) if cfg.compare else None
    ids = [row["ImageId"] for row in rows]
    found = list(track(examine_all(store, subject, other, ids, cfg.workers), "examine", len(ids)))
    context, figures = contents(subject, other, rows, found)
    logs, untrained = training_logs([subject, other] if other else [subject])
    if logs:
        figures["training"] = training(logs)
    context["tiles"] = [*headline(cfg), *context["tiles"]]
    context |= summary(cfg, subject) | pictures(cfg, store, subject, found)
    context |= {"untrained": ", ".join(untrained), "recorded": recorded(cfg, subject)}
    absent = {"members": not context["members"], "compare": not other}
    context["sections"] = {key: name for key, name in SECTIONS.items() if not absent.get(key)}
    path = Path(cfg.paths.reports) / cfg.data.name / f"{file_name(cfg)}.html"
    with atomic_write(path) as part:
        part.write_text(render(context, figures))
    scores = ", ".join(" ".join(filter(None, tile)) for tile in context["tiles"] if "mAP" in tile[0])
    print(
        f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - start:.0f} s; "
        f"{scores}; next: open it in a browser"
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


def file_name(cfg: DictConfig) -> str:
    """Name the report after what it shows."""
    name = cfg.run or f"ensemble_{cfg.ensemble}"
    return (name + (f"_vs_{cfg.compare}" if cfg.compare else "")).replace("/", "_")


def headline(cfg: DictConfig) -> list[tuple[str, str, str]]:
    """The honest score of an ensemble, which stands first: name, value, note."""
    if cfg.run:
        return []
    score = read_ensemble(Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble)["score"]
    return [("mAP, nested", f"{score['nested']:.3f}", "")]


def summary(cfg: DictConfig, subject: Subject) -> dict[str, str]:
    """The report's title and first lines."""
    parts = zip(subject.members, subject.weights, strict=True)
    members = " + ".join(f"{weight:.3g} × {member.name}" for member, weight in parts)
    tuned = (
        "All below is under the settings (and the trees, where there is a second stage) that were chosen on "
        "all images, so it is somewhat too good; the nested score, of what has not seen the fold that it is "
        "scored on, is the one that ./run.sh ensemble found."
    )
    return {
        "title": f"{subject.name} on {cfg.data.name}",
        "lead": f"Out-of-fold predictions of the training images: {members}. "
        f"Post-processing: {described(subject)}.",
        "stated": "" if cfg.run else tuned,
    }


def recorded(cfg: DictConfig, subject: Subject) -> tables.Table | None:
    """Read the scores beside the ensemble."""
    path = Path(cfg.paths.ensembles) / cfg.data.name / cfg.ensemble / "scores.csv"
    return tables.recorded(pd.read_csv(path)) if not cfg.run and path.is_file() else None


def pictures(cfg: DictConfig, store: Store, subject: Subject, found: Sequence[Findings]) -> dict[str, Any]:
    """Draw the worst and the best images and the labels in doubt."""
    bad, good = ranked(found, cfg.examples)
    drawn = [card(store, subject, f) for f in track([*bad, *good], "draw images")]
    listed = worst([s for f in found for s in f.suspects], cfg.suspects)
    files, note = mask_files(cfg, store, listed)
    return {
        "examples": [
            ("worst", f"The worst {len(bad)} images", drawn[: len(bad)]),
            ("best", f"The best {len(good)} images", drawn[len(bad) :]),
        ],
        "suspects": suspects_table(listed, files),
        "masks_note": note,
        "suspect_cards": suspect_cards(store, subject, listed),
    }


def mask_files(cfg: DictConfig, store: Store, listed: Sequence[Suspect]) -> tuple[dict[Suspect, str], str]:
    """Find the mask file of each label in doubt, or say why there is none."""
    if not Path(cfg.data.root).exists():
        return (
            {},
            f"The names of the mask files are missing: the competition's files are not at {cfg.data.root}.",
        )
    items = {item.image_id: item for item in instantiate(cfg.data.source).items("train")}
    if not all(hasattr(item, "masks") for item in items.values()):
        return {}, f"{cfg.data.name} has no file for each nucleus."
    return {
        s: mask_file(items[s.image_id], store.labels(s.image_id) == s.label)
        for s in track(listed, "find mask files")
        if s.label and s.image_id in items
    }, ""
