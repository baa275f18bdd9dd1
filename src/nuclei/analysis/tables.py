"""The report's tables: plain rows of texts, numbers and intervals, for the template to lay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nuclei.analysis.confidence_intervals import Interval, mean_interval
from nuclei.analysis.error_types import KINDS
from nuclei.analysis.findings import Findings, Subject
from nuclei.analysis.groups import order

Cell = str | int | float | Interval
AT = {"AP 0.50": 0, "AP 0.75": 5, "AP 0.90": 8}
"""Columns that stand for one threshold, and where it is in the metric's list."""

LOST_TO = {
    "merge": "one prediction holds several nuclei",
    "split": "one nucleus in several pieces",
    "wrong outline": "a pair that overlaps, with an IoU of 0.5 or less",
    "miss": "a nucleus with no prediction",
    "false find": "a prediction with no nucleus",
    "inexact outline": "a match that a higher threshold refuses",
}


@dataclass(frozen=True)
class Table:
    """A table whose columns can be sorted.

    Attributes:
        caption: what it shows.
        head: name of each column.
        rows: a cell for each column.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def lost(found: Sequence[Findings], groups: Sequence[int]) -> Table:
    """For each kind of error its number, and the mAP when it is mended."""
    score = np.array([f.precision.mean() for f in found])
    rows: list[list[Cell]] = []
    for kind in KINDS:
        mended = np.array([f.mended[kind].mean() for f in found])
        numbers = [f.counts[kind] for f in found]
        gain = mean_interval(mended - score, groups)
        rows.append([kind, LOST_TO[kind], sum(numbers), sum(map(bool, numbers)), float(mended.mean()), gain])
    head = ["Kind", "What it is", "Number", "Images with it", "mAP if mended", "Gain"]
    return Table("What each kind of error costs", head, rows)


def by_group(name: str, names: Sequence[str], precision: np.ndarray, groups: Sequence[int]) -> Table:
    """The scores of each group of images.

    Args:
        name: how they are grouped.
        names: each image's group.
        precision: float64 (images, 10).
        groups: the images that belong together, for the intervals.
    """
    rows: list[list[Cell]] = []
    for group in sorted(set(names), key=order):
        own = np.array(names) == group
        at = precision[own].mean(axis=0)
        interval = mean_interval(precision[own].mean(axis=1), np.array(groups)[own])
        rows.append([group, int(own.sum()), *(float(at[i]) for i in AT.values()), interval])
    return Table(name, ["Group", "Images", *AT, "mAP"], rows)


def differences(
    names: Mapping[str, Sequence[str]], precision: np.ndarray, other: np.ndarray, groups: Sequence[int]
) -> Table:
    """The paired differences of two subjects, over all images and in each group."""
    rows: list[list[Cell]] = []
    ours, theirs = precision.mean(axis=1), other.mean(axis=1)
    for name, of_image in {"All": ["all images"] * len(ours), **names}.items():
        for group in sorted(set(of_image), key=order):
            own = np.array(of_image) == group
            difference = mean_interval(ours[own] - theirs[own], np.array(groups)[own])
            means = float(ours[own].mean()), float(theirs[own].mean())
            rows.append([name, group, int(own.sum()), *means, difference])
    return Table(
        "Differences, image by image", ["By", "Group", "Images", "This", "Other", "Difference"], rows
    )


def members(subject: Subject, found: Sequence[Findings], groups: Sequence[int]) -> Table:
    """Each member alone under the ensemble's post-processing: its score, and what the ensemble adds to it."""
    score = np.array([f.precision.mean() for f in found])
    alone = np.stack([f.members.mean(axis=1) for f in found], axis=1)
    rows: list[list[Cell]] = [
        [
            member.name,
            float(weight),
            mean_interval(own, groups),
            mean_interval(score - own, groups),
            correlation(own, score),
        ]
        for member, weight, own in zip(subject.members, subject.weights, alone, strict=True)
    ]
    head = ["Member", "Weight", "mAP alone", "Ensemble's gain", "Correlation with the ensemble"]
    return Table("Members under the ensemble's post-processing", head, rows)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one of the two does not vary."""
    if min(np.ptp(one), np.ptp(other)) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def recorded(scores: pd.DataFrame) -> Table:
    """The scores that ``./run.sh ensemble`` wrote: nested first."""
    own = scores[scores["modality"] == "all"]
    columns = ["scored", "setting", "ap50", "ap75", "ap90", "map"]
    rows = own[columns].astype(object).to_numpy().tolist()
    return Table("Scores on record", ["Scored", "Setting", *AT, "mAP"], rows)


def images(rows: Sequence[Mapping[str, Any]], found: Sequence[Findings]) -> Table:
    """One row for each image."""
    compared = bool(found[0].other.size)
    head = ["ImageId", "Fold", "Modality", "Size", "Nuclei", "Predicted", "mAP"]
    head += [*(["Difference"] if compared else []), *(kind.capitalize() for kind in KINDS)]
    cells: list[list[Cell]] = []
    for row, f in zip(rows, found, strict=True):
        score = float(f.precision.mean())
        facts: list[Cell] = [row["ImageId"], row["fold"], row["modality"], f"{row['height']}×{row['width']}"]
        difference = [score - float(f.other.mean())] if compared else []
        cells.append([*facts, *f.nuclei, score, *difference, *(f.counts[kind] for kind in KINDS)])
    return Table("All images", head, cells)
