"""Where the score of a trained run ends: prints the table "What limits the score" of docs/ablation.md.

    PYTHONPATH=src python bench/score_limits.py MODEL/NAME FOLD

Every second held-out image of the fold, post-processing untuned: maps that are perfect, the run's maps, and
these with one thing taken from the truth or moved. Then every eighth image that the network was trained on.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from nuclei.build import named_steps
from nuclei.data.folds import folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS, targets
from nuclei.ensemble.oof import load_oof
from nuclei.inference.predict_maps import resize_maps
from nuclei.inference.segmenter import ZOOM_LIMITS
from nuclei.metrics import confusion, equivalent_diameter, precision_at
from nuclei.model_loading import trained_network
from nuclei.paths import FoldFolder
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track

HERE = Path(__file__).parents[1]
DATA = "dsb2018"
STEPS = named_steps("watershed")
LOWS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
MOVES = ((0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5))


def perfect_maps(truth: np.ndarray, diameter: float | None) -> np.ndarray:
    """Return the maps of a network without error that sees nuclei at a diameter, or as they are."""
    zoom = 1.0
    if diameter is not None:
        zoom = float(np.clip(diameter / equivalent_diameter((truth > 0).sum() / truth.max()), *ZOOM_LIMITS))
    size = tuple(round(n * zoom) for n in truth.shape[::-1])
    zoomed = cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    maps = (targets(zoomed.astype(np.int32)) * 255).astype(np.uint8)
    if maps.shape[1:] == truth.shape:
        return maps
    return resize_maps(maps, truth.shape, cv2.INTER_LINEAR if zoom < 1 else cv2.INTER_AREA)


def moved(maps: np.ndarray, move: tuple[float, float]) -> np.ndarray:
    """Return maps moved by a part of a pixel."""
    matrix = np.float32([[1, 0, move[0]], [0, 1, move[1]]])
    options = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return np.stack([cv2.warpAffine(plane, matrix, plane.shape[::-1], **options) for plane in maps])


def split_as_truth(nucleus: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the thresholded map ``nucleus``, each of its pixels given to the nearest true nucleus."""
    nearest = distance_transform_edt(truth == 0, return_distances=False, return_indices=True)
    return np.where(nucleus > 255 * STEPS[0].low, truth[tuple(nearest)], 0)


def variants(truth: np.ndarray, maps: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each row and the precision of one image, ``float64 (10,)``."""

    def precision(labels: np.ndarray) -> np.ndarray:
        return precision_at(confusion(truth, labels))

    def of_maps(maps: np.ndarray, low: float = STEPS[0].low) -> np.ndarray:
        steps = [replace(STEPS[0], low=low, high=max(low, STEPS[0].high)), *STEPS[1:]]
        return precision(postprocess(maps, CHANNELS, steps))

    yield "perfect maps, at the image's own size", of_maps(perfect_maps(truth, None))
    yield "perfect maps, at a diameter of 26 pixels", of_maps(perfect_maps(truth, 26.0))
    yield "**the run's maps**", of_maps(maps)
    yield (
        "each image by the best of six outline thresholds",
        max((of_maps(maps, low) for low in LOWS), key=np.mean),
    )
    yield "the mask as predicted, split as the truth", precision(split_as_truth(maps[0], truth))
    yield (
        "maps moved by half a pixel (mean of four directions)",
        np.mean([of_maps(moved(maps, move)) for move in MOVES], axis=0),
    )


def main() -> None:
    """Print the table."""
    run, fold = sys.argv[1], int(sys.argv[2])
    store, rows = Store(HERE / "data" / f"{DATA}.store"), read_folds(HERE / "folds" / f"{DATA}.csv")
    held_out = [row for row in rows if row.fold == fold]
    member = load_oof(HERE / "runs" / DATA / run, held_out, folds_sha256(HERE / "folds" / f"{DATA}.csv"))
    found = defaultdict(list)
    for row in track(held_out[::2], "held out"):
        truth, (maps,) = store.labels(row.image_id), member.maps([row.image_id], CHANNELS)
        for name, precision in variants(truth, maps):
            found[name].append(precision)
    network = trained_network(FoldFolder(HERE / "runs" / DATA / run / f"fold{fold}"))
    trained_on = [row for row in rows if row.fold != fold][::8]
    for row in track(trained_on, "trained on"):
        labels = postprocess(network.maps(store.image(row.image_id)), network.channels, STEPS)
        precision = precision_at(confusion(store.labels(row.image_id), labels))
        found["the run's maps of images that it was trained on"].append(precision)
    print("| what | images | mAP | AP 0.50 | AP 0.75 | AP 0.90 |\n|---|---|---|---|---|---|")
    for name, precisions in found.items():
        mean = np.mean(precisions, axis=0)
        cells = [f"{x:.3f}" for x in (mean.mean(), *mean[[0, 5, 8]])]
        print(f"| {name} | {len(precisions)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
