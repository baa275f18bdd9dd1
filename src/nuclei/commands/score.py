"""``./run.sh score``: the competition's metric for a submission, or for a run's out-of-fold maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from nuclei.errors import UserError
from nuclei.metrics import THRESHOLDS, precision_at, table
from nuclei.submission.known import read_index
from nuclei.submission.truth import compare


def main(cfg: DictConfig) -> None:
    """Print tables; the last line is ``mAP 0.1234``."""
    if bool(cfg.submission) == bool(cfg.run):
        raise UserError("what is to be scored? say either submission=submissions/NAME.csv or run=MODEL/NAME")
    counts = score_submission(cfg)
    modality = {row["ImageId"]: row["modality"] for row in read_index(cfg.data.store)}
    show(counts, {"modality": {image_id: modality.get(image_id, "unknown") for image_id in counts}})


def score_submission(cfg: DictConfig) -> dict[str, np.ndarray]:
    """Compare ``cfg.submission`` with ``cfg.solution``; TP, FP and FN of each image."""
    if not Path(cfg.solution).is_file():
        advice = f"run ./run.sh prepare data={cfg.data.name}, or give solution=PATH"
        if cfg.data.name == "dsb2018":
            advice = (
                "the truth of the test images is not among the competition's data; "
                "score out-of-fold maps instead: ./run.sh score run=unet/default"
            )
        raise UserError(f"no solution at {cfg.solution}: {advice}")
    return compare(cfg.submission, cfg.solution)


def show(counts: Mapping[str, np.ndarray], groupings: Mapping[str, Mapping[str, str]]) -> None:
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
