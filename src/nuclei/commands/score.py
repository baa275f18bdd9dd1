"""``./run.sh score``: the competition's metric for a submission, or for a run's out-of-fold maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from nuclei.build import build_paths, build_steps
from nuclei.call import Call
from nuclei.errors import UserError
from nuclei.metrics import THRESHOLDS, confusion, precision_at, table
from nuclei.parallel import parallel_map
from nuclei.paths import FoldFolder, RunName
from nuclei.progress import track
from nuclei.submission.expected_images import index_or_nothing
from nuclei.submission.scoring import compare_with_solution

if TYPE_CHECKING:
    from nuclei.data.store import Store
    from nuclei.ensemble.oof import Member

Counts = Mapping[str, np.ndarray]
"""TP, FP and FN of each image at each threshold, as ``nuclei.metrics.confusion`` gives them."""


def main(cfg: DictConfig, call: Call) -> None:
    """Print tables; the last line is ``mAP 0.1234``."""
    if bool(cfg.submission) == bool(cfg.run):
        raise UserError("what is to be scored? say either submission=submissions/NAME.csv or run=MODEL/NAME")
    score = score_submission if cfg.submission else score_run
    show(*score(cfg))


def score_submission(cfg: DictConfig) -> tuple[Counts, dict[str, dict[str, str]]]:
    """Compare ``cfg.submission`` with ``cfg.solution``."""
    if not Path(cfg.solution).is_file():
        advice = f"run ./run.sh prepare data={cfg.data.name}, or give solution=PATH"
        if cfg.data.name == "dsb2018":
            advice = (
                "the truth of the test images is not among the competition's data; "
                "score out-of-fold maps instead: ./run.sh score run=unet/default"
            )
        raise UserError(f"no solution at {cfg.solution}: {advice}")
    counts = compare_with_solution(cfg.submission, cfg.solution)
    modality = {row.image_id: row.modality for row in index_or_nothing(cfg.data.store)}
    return counts, {"modality": {image_id: modality.get(image_id, "unknown") for image_id in counts}}


def score_run(cfg: DictConfig) -> tuple[Counts, dict[str, dict[str, str]]]:
    """Post-process the out-of-fold maps of ``cfg.run`` and compare them with the store's labels."""
    # The store opens images with OpenCV, which a submission's score does without.
    from nuclei.data.folds import folds_sha256, read_folds
    from nuclei.data.store import Store
    from nuclei.ensemble.oof import load_oof

    store, rows = Store(cfg.data.store), read_folds(cfg.data.folds)
    paths, run = build_paths(cfg), RunName.parse(cfg.run)
    member = load_oof(paths.run(run), rows, folds_sha256(cfg.data.folds))
    count = partial(count_image, store, member, steps_of(cfg, paths.fold(run, 0)))
    ids = [row.image_id for row in rows]
    found = parallel_map(count, ids, cfg.workers, chunksize=8)
    counts = dict(zip(ids, track(found, "score", len(ids)), strict=True))
    by_fold = {row.image_id: f"fold {row.fold}" for row in rows}
    return counts, {"fold": by_fold, "modality": {row.image_id: row.modality for row in rows}}


def steps_of(cfg: DictConfig, folder: FoldFolder) -> list[Any]:
    """Build the post-processing that the settings choose, or else the run's own."""
    from nuclei.training.run_folder import read_settings

    return build_steps(cfg.postprocess.steps if cfg.get("postprocess") else read_settings(folder).steps)


def count_image(store: Store, member: Member, steps: Sequence[Any], image_id: str) -> np.ndarray:
    """Compare the nuclei in one image's out-of-fold maps with the truth."""
    from nuclei.postprocess.pipeline import postprocess

    (maps,) = member.maps([image_id], member.channels)
    return confusion(store.labels(image_id), postprocess(maps, member.channels, steps))


def show(counts: Counts, groupings: Mapping[str, Mapping[str, str]]) -> None:
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
