"""``./run.sh score``: the competition's metric for a submission, out-of-fold maps, or any label maps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from nuclei.build import build_paths, build_postprocess
from nuclei.config import Call
from nuclei.errors import UserError
from nuclei.metrics import THRESHOLDS, precision_at, table
from nuclei.model_loading import run_steps
from nuclei.paths import RunName
from nuclei.submission.csv_files import check_solution, compare_with_solution, index_or_nothing


def main(cfg: DictConfig, call: Call) -> None:
    """Print tables; the last line is ``mAP 0.1234``."""
    if sum(map(bool, (cfg.submission, cfg.run, cfg.labels or cfg.truth))) != 1:
        raise UserError(
            "what is to be scored? say either submission=submissions/NAME.csv or run=MODEL/NAME, "
            "or labels=FOLDER truth=FOLDER"
        )
    if cfg.labels or cfg.truth:
        score_labels(cfg.labels, cfg.truth, Path(cfg.output).expanduser(), cfg.workers)
        return
    paths = build_paths(cfg)
    if cfg.submission:
        check_solution(cfg.solution, cfg.data.name)
        counts = compare_with_solution(cfg.submission, cfg.solution)
        modality = {row.image_id: row.modality for row in index_or_nothing(paths.store)}
        print_scores(counts, {"modality": {name: modality.get(name, "unknown") for name in counts}})
        return
    # The store opens images with OpenCV, which a submission's score does without.
    from nuclei.data.folds import folds_sha256, read_folds
    from nuclei.data.store import Store
    from nuclei.ensemble.oof import count_matches, load_oof

    run, store, rows = RunName.parse(cfg.run), Store(paths.store), read_folds(paths.folds)
    member = load_oof(paths.run(run), rows, folds_sha256(paths.folds), store.sha256)
    own = cfg.get("postprocess") is None
    steps = run_steps(paths.fold(run, 0)) if own else build_postprocess(cfg.postprocess)
    counts = count_matches(member, store, rows, steps, cfg.workers)
    fold = {row.image_id: f"fold {row.fold}" for row in rows}
    print_scores(counts, {"fold": fold, "modality": {row.image_id: row.modality for row in rows}})


def print_scores(counts: Mapping[str, np.ndarray], groupings: Mapping[str, Mapping[str, str]]) -> None:
    """Print a table for each way to group the images, the precision at each threshold, and the mean."""
    for name, group in groupings.items():
        print(
            "\n".join(table(list(counts.values()), [group[image_id] for image_id in counts], name)),
            end="\n\n",
        )
    precision = precision_at(np.stack(list(counts.values()))).mean(axis=0)
    print("IoU > " + " ".join(f"{k / 20:6.2f}" for k in THRESHOLDS))
    print("      " + " ".join(f"{p:6.3f}" for p in precision))
    print(f"mAP {precision.mean():.4f}")


def score_labels(labels: str | None, truth: str | None, output: Path, workers: int) -> None:
    """Score a folder of label maps against another one; write the table, print means."""
    from nuclei.analysis.label_scores import find_pairs, score_pairs, summary, write_scores

    if not labels or not truth:
        raise UserError("labels= and truth= go together: score labels=PREDICTIONS truth=ANNOTATIONS")
    scores, faults = score_pairs(find_pairs(Path(labels).expanduser(), Path(truth).expanduser()), workers)
    for fault in faults:
        print(f"not scored: {fault}", file=sys.stderr)
    if scores:
        write_scores(output, scores)
        print("\n".join(summary(scores)), end="\n\n")
        print_scores({score.image: score.found.counts for score in scores}, {})
        print(f"wrote {output}", file=sys.stderr)
    if faults:
        raise UserError(f"{len(faults)} files were not scored, first {faults[0]}")
