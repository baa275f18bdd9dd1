"""Compare trained recipes, out-of-fold: prints a row of docs/ablation.md for each run.

    PYTHONPATH=src python bench/compare_runs.py MODEL/NAME MODEL/NAME+MODEL/NAME ...

Each run, or the average of several, is scored, without tuning, on the folds that all of the given runs
have, on both cross-validations: ``dsb2018`` (tiles of one picture stay together) and ``dsb2018_kinds``
(whole kinds of images held out).
*found* is the number of nuclei predicted for each annotated one, which shows a network that is shy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuclei.build import named_steps
from nuclei.data.folds import FoldRow, folds_sha256, read_folds
from nuclei.data.store import Store
from nuclei.ensemble.oof import blend, load_oof
from nuclei.metrics import confusion, precision_at
from nuclei.postprocess.pipeline import postprocess

HERE = Path(__file__).parents[1]
WATERSHED = named_steps("watershed")
MODALITIES = ("fluorescence", "histology", "brightfield")


def common_folds(data: str, runs: Sequence[str]) -> set[int]:
    """Return the numbers of the folds that every run has finished."""
    folders = [HERE / "runs" / data / run for average in runs for run in average.split("+")]
    found = [{path.parent.name for path in folder.glob("fold[0-9]/oof.npz")} for folder in folders]
    return {int(name.removeprefix("fold")) for name in set.intersection(*found)}


def row(data: str, run: str, rows: Sequence[FoldRow]) -> list[str]:
    """Return the cells of one run, or of the average of several, on one cross-validation."""
    store, sha256 = Store(HERE / "data" / "dsb2018.store"), folds_sha256(HERE / "folds" / f"{data}.csv")
    members = [load_oof(HERE / "runs" / data / single, rows, sha256) for single in run.split("+")]
    channels = members[0].channels
    precisions, predicted = [], 0
    for r in rows:
        maps = [member.maps([r.image_id], channels)[0] for member in members]
        labels = postprocess(blend(maps, [1 / len(maps)] * len(maps)), channels, WATERSHED)
        predicted += int(labels.max(initial=0))
        precisions.append(precision_at(confusion(store.labels(r.image_id), labels)))
    scores, modality = np.array(precisions), np.array([r.modality for r in rows])
    by_modality = [scores[modality == m].mean() if (modality == m).any() else np.nan for m in MODALITIES]
    found = predicted / sum(r.nuclei for r in rows)
    figures = [scores.mean(), *scores.mean(0)[[0, 5, 8]], *by_modality, found]
    return ["–" if np.isnan(x) else f"{x:.3f}" for x in figures]


def main() -> None:
    """Print a table for each cross-validation."""
    runs = sys.argv[1:]
    for data in ("dsb2018", "dsb2018_kinds"):
        if not (folds := common_folds(data, runs)):
            continue
        rows = [r for r in read_folds(HERE / "folds" / f"{data}.csv") if r.fold in folds]
        print(f"\n{data}, folds {', '.join(map(str, sorted(folds)))}: {len(rows)} images\n")
        print("| run | mAP | AP 0.50 | AP 0.75 | AP 0.90 | fluo | histo | bright | found |")
        print("|---" * 9 + "|")
        for run in runs:
            print(f"| {run} | " + " | ".join(row(data, run, rows)) + " |", flush=True)


if __name__ == "__main__":
    main()
