"""Draw docs/road.png: an image, its out-of-fold maps, its nuclei, and the annotation.

PYTHONPATH=src .venv/bin/python docs/draw_road.py RUN_FOLDER ENSEMBLE_FILE [ImageId ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import mark_boundaries

from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.oof import load_oof
from nuclei.metrics import average_precision
from nuclei.model_loading import build_steps
from nuclei.postprocess.pipeline import postprocess


def main() -> None:
    """One row for each ImageId."""
    run, ensemble, ids = Path(sys.argv[1]), read_ensemble(Path(sys.argv[2])), sys.argv[3:]
    data = run.parts[-3]
    store, folds = Store(f"data/{data}.store"), f"folds/{data}.csv"
    member = load_oof(run, read_folds(folds), folds_sha256(folds))
    steps = build_steps(ensemble.steps)
    fig, axes = plt.subplots(len(ids), 6, figsize=(15, 2.5 * len(ids)), squeeze=False)
    for row, image_id in zip(axes, ids, strict=True):
        image, truth = store.image(image_id), store.labels(image_id)
        (maps,) = member.maps([image_id], member.channels)
        labels = postprocess(maps, member.channels, steps)
        shown = image if image.ndim == 3 else np.dstack([image] * 3)
        shown = np.clip(shown * (230 / max(np.percentile(shown, 99.5), 1)), 0, 255).astype(np.uint8)
        panels = [("image", shown), *zip(member.channels, maps, strict=True)]
        panels += [
            (
                f"nuclei, AP {average_precision(truth, labels):.2f}",
                mark_boundaries(shown, labels, mode="inner"),
            )
        ]
        panels += [("annotation", mark_boundaries(shown, truth, mode="inner"))]
        for ax, (title, panel) in zip(row, panels, strict=True):
            ax.imshow(panel[:256, :256], cmap="gray", vmin=0, vmax=255)
            ax.set_title(title, fontsize=10)
            ax.axis("off")
    fig.tight_layout(pad=0.5)
    fig.savefig("docs/road.png", dpi=60)


if __name__ == "__main__":
    main()
