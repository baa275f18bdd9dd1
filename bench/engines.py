"""Compare the two engines of the bundled model: ``python bench/engines.py STORE [IMAGES]``.

First the start of processes, in turn: ``import torch`` alone, and ``predict`` of one image, 520 × 348 pixels.
Then training images of several kinds, each segmented by torch and by ONNX Runtime in turn, on one core: the
number of nuclei, the IoU of each nucleus of one with that of the other, seconds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
import cv2
import numpy as np

from nuclei.data.store import Store
from nuclei.model_loading import Engine, file_segmenter
from nuclei.paths import ROOT, default_model

ENGINES: tuple[Engine, Engine] = ("torch", "onnx")


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """Return a result and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def processor_seconds(command: Sequence[str]) -> float:
    """Return the processor time of a process: other work changes it less than the time of the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_starts(image: np.ndarray, runs: int = 5) -> None:
    """Print the processor time of cold processes, and the ratios, pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        cv2.imwrite(f"{folder}/image.png", image[:520, :348])
        predict = [
            f"{ROOT}/run.sh",
            "predict",
            f"input={folder}/image.png",
            f"output={folder}/out",
            "again=true",
        ]
        commands = ([sys.executable, "-c", "import torch"], [sys.executable, "-c", "import nuclei"], predict)
        os.environ["NUCLEI_PYTHON"] = sys.executable
        times = np.array([[processor_seconds(c) for c in commands] for _ in range(runs + 1)])[1:]
    for name, seconds in zip(("import torch", "import nuclei", "predict of one image"), times.T, strict=True):
        ratio = np.median(seconds / times[:, 0])
        print(f"{name}: {np.median(seconds):.2f} s of one core, {ratio:.2f} times import torch")


def matched_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of each nucleus of ``a`` with the one of ``b`` that it shares most with."""
    pairs, counts = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_counts=True)
    areas = [np.bincount(labels.ravel()) for labels in (a, b)]
    best = np.zeros(len(areas[0]))
    for (row, column), shared in zip(pairs.T, counts, strict=True):
        if row and column:
            best[row] = max(best[row], shared / (areas[0][row] + areas[1][column] - shared))
    return best[1:]


def main(store: Store, images: int) -> None:
    """Print all figures."""
    rows = [row for row in store.index if row.split == "train"]
    kinds = defaultdict(list)
    for n in np.random.default_rng(0).permutation(len(rows)):
        kinds[rows[n].modality].append(rows[n])
    share = -(-images // len(kinds))
    chosen = [row for of_kind in kinds.values() for row in of_kind[:share]][:images]
    crowded = next(row for row in rows if (row.height, row.width) == (520, 696) and row.nuclei > 100)
    compare_starts(store.image(crowded.image_id))
    segmenters = {engine: file_segmenter(default_model(), engine=engine) for engine in ENGINES}
    found, ious, seconds = [], [], []
    for number, row in enumerate(chosen):
        image, labels, times = store.image(row.image_id), {}, {}
        for engine in ENGINES[:: 1 if number % 2 else -1]:
            maps, times[engine] = timed(lambda engine=engine, image=image: segmenters[engine].maps(image))
            labels[engine] = segmenters[engine].labels(maps)
        found.append([labels[engine].max() for engine in ENGINES])
        ious.extend(matched_ious(labels["onnx"], labels["torch"]))
        seconds.append([times[engine] for engine in ENGINES])
    (by_torch, by_onnx), times = np.sum(found, axis=0), np.array(seconds)
    matched = np.array([iou for iou in ious if iou > 0])
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(row.modality for row in chosen).items())
    print(f"{len(chosen)} images ({counts}): {by_torch} nuclei by torch, {by_onnx} by ONNX Runtime")
    print(
        f"IoU of matched nuclei: mean {matched.mean():.5f}, least {matched.min():.3f}, "
        f"{np.mean(matched < 0.99):.2%} below 0.99; {len(ious) - len(matched)} unmatched"
    )
    ratio = np.median(times[:, 1] / times[:, 0])
    print(
        f"maps of all images: torch {times[:, 0].sum():.1f} s; ONNX Runtime takes {ratio:.2f} of it (median)"
    )


if __name__ == "__main__":
    main(Store(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
