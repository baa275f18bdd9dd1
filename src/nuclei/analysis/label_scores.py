"""Score a folder of label maps against another one: agreement by image, and over all of them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from nuclei.analysis.error_types import count_merges_and_splits
from nuclei.atomic import atomic_write
from nuclei.data.annotations import LABEL_SUFFIXES, nuclei_of, read_label_map
from nuclei.data.image_files import (
    PICKLE,
    PICTURES,
    TABLE,
    as_text,
    is_mask_name,
    label_key,
    safe_name,
    walk_files,
)
from nuclei.errors import UserError
from nuclei.metrics import THRESHOLDS, Agreement, agreement, precision_at
from nuclei.progress import track

FIGURES: Mapping[str, Callable[[Agreement], float]] = {
    "F1_0.50": lambda found: found.f1(10),
    "F1_0.75": lambda found: found.f1(15),
    "PQ": lambda found: found.panoptic_quality,
    "SQ": lambda found: found.segmentation_quality,
    "DQ": lambda found: found.detection_quality,
    "AJI": lambda found: found.aggregated_jaccard,
}
"""Columns of the table, beside the precision at each threshold."""


@dataclass(frozen=True)
class LabelScore:
    """How the predicted label map of an image compares with the true one.

    Attributes:
        merges: predicted nuclei that hold more than half of each of two or more true ones.
        splits: true nuclei that hold more than half of each of two or more predicted ones.
        notes: how often something was noticed in the two files; see ``nuclei_of``.
    """

    image: str
    found: Agreement
    merges: int
    splits: int
    notes: Counter[str]


@dataclass(frozen=True)
class LabelPairs:
    """Predicted and true label maps, by the name of the image, and a line for each file without a partner."""

    pairs: dict[str, tuple[Path, Path]]
    faults: list[str]


def find_pairs(labels: Path, truth: Path) -> LabelPairs:
    """Find the label maps below two folders that belong together, or take two files.

    Files belong together whose paths below the folders are alike but for the ending and for words such as
    ``_masks``; of those that are left over, files of the same name that is unique in both folders. The output
    of ``predict`` may be named as a whole.

    Raises:
        UserError: there is nothing at a path, no label map, two of one name, or no pair.
    """
    if labels.is_file() and truth.is_file():
        return LabelPairs({labels.stem: (labels, truth)}, [])
    if (labels / TABLE).is_file() and (labels / "labels").is_dir():
        labels = labels / "labels"
    predicted, true = _label_files(labels, "labels"), _label_files(truth, "truth")
    pairs = {key: (predicted.pop(key), true.pop(key)) for key in sorted(predicted.keys() & true.keys())}
    names = [Counter(PurePosixPath(key).name for key in files) for files in (predicted, true)]
    partner = {PurePosixPath(key).name: key for key in true}
    for key in list(predicted):
        name = PurePosixPath(key).name
        if names[0][name] == names[1][name] == 1:
            pairs[key] = predicted.pop(key), true.pop(partner[name])
    if not pairs:
        raise UserError(
            f"no file below labels={labels} has the name of one below truth={truth}; "
            f"there are {min(predicted)} and {min(true)}, for example"
        )
    faults = [f"{file} has no partner below {truth}" for file in predicted.values()]
    return LabelPairs(pairs, faults + [f"{file} has no partner below {labels}" for file in true.values()])


def _label_files(folder: Path, setting: str) -> dict[str, Path]:
    """Return the files below a folder that may be label maps, by the name that an image has."""
    if not folder.is_dir():
        raise UserError(f"{setting}={folder}: expected a folder of label maps (or two files)")
    found: dict[str, Path] = {}
    for file in walk_files(folder):
        picture = file.stem.endswith(PICTURES) or file.name.endswith(PICKLE)
        if picture or file.suffix.lower() not in LABEL_SUFFIXES or not file.is_file():
            continue
        key = safe_name(PurePath(label_key(file.relative_to(folder))))
        other = found.setdefault(key, file)
        if other != file and is_mask_name(file) == is_mask_name(other):
            raise UserError(f"{other} and {file} are two label maps of one image; keep one of them")
        if is_mask_name(file):  # else the image of the label map, as Cellpose has them side by side
            found[key] = file
    if not found:
        raise UserError(f"{setting}={folder} has no label map; expected {', '.join(LABEL_SUFFIXES)}")
    return found


def score_pairs(found: LabelPairs, workers: int) -> tuple[list[LabelScore], list[str]]:
    """Compare all pairs, in order, several at a time.

    Returns:
        A score for each pair that can be compared, and a line for each fault, missing partners among them.
    """
    if workers < 1:
        raise UserError(f"workers={workers}: expected 1 or more pairs at a time")
    with ThreadPoolExecutor(workers) as pool:
        results = list(track(pool.map(_score, *zip(*found.pairs.items(), strict=True)), "score"))
    scores = [result for result in results if isinstance(result, LabelScore)]
    return scores, found.faults + [result for result in results if isinstance(result, str)]


def _score(image: str, files: tuple[Path, Path]) -> LabelScore | str:
    notes: Counter[str] = Counter()
    try:
        prediction, truth = (nuclei_of(read_label_map(file), str(file), notes) for file in files)
    except UserError as e:
        return str(e)
    if prediction.shape != truth.shape:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (prediction.shape, truth.shape)]
        return f"{files[0]} has {sizes[0]} pixels, {files[1]} has {sizes[1]}"
    merges, splits = count_merges_and_splits(truth, prediction)
    return LabelScore(image, agreement(truth, prediction), merges, splits, notes)


def write_scores(path: Path, scores: Sequence[LabelScore]) -> None:
    """Write a CSV with a row for each image, with six digits, completely or not at all."""
    thresholds = [f"AP_{k / 20:.2f}" for k in THRESHOLDS]
    header = ["image", "true", "predicted", "mAP", *thresholds, *FIGURES, "merges", "splits"]
    with atomic_write(path) as part, open(part, "w", newline="", encoding="utf-8") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(header)
        for score in scores:
            precision = precision_at(score.found.counts)
            figures = [precision.mean(), *precision, *(figure(score.found) for figure in FIGURES.values())]
            counts = [score.found.n_true, score.found.n_predicted]
            texts = [f"{value:.6f}" for value in figures]
            table.writerow([as_text(score.image), *counts, *texts, score.merges, score.splits])


def summary(scores: Sequence[LabelScore]) -> list[str]:
    """Return the figures as lines: the mean over images, and those of all nuclei together."""
    total = reduce(add, (score.found for score in scores))
    means = [float(np.mean([figure(score.found) for score in scores])) for figure in FIGURES.values()]
    pooled = [figure(total) for figure in FIGURES.values()]
    merges, splits = sum(score.merges for score in scores), sum(score.splits for score in scores)
    notes = sum((score.notes for score in scores), Counter())
    return [
        *(f"{what}: {n}" for what, n in sorted(notes.items()) if n),
        f"{len(scores)} images, {total.n_true} true and {total.n_predicted} predicted nuclei, "
        f"{merges} merges, {splits} splits",
        " " * 14 + " ".join(f"{name.replace('_', ' '):>7}" for name in FIGURES),
        "mean of images" + " ".join(f"{value:7.3f}" for value in means),
        "all nuclei    " + " ".join(f"{value:7.3f}" for value in pooled),
    ]
