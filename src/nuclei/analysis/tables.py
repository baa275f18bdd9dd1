"""Tables of the report: rows of texts, numbers and intervals, which the template lays out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from nuclei.analysis.error_types import ERROR_TYPES
from nuclei.analysis.image_analysis import SUSPECT_TYPES, Findings, Subject, Suspect
from nuclei.analysis.score_statistics import Interval, correlation, group_order, mean_interval
from nuclei.data.folds import FoldRow

Cell = str | int | float | Interval
THRESHOLDS = {"AP 0.50": 0, "AP 0.75": 5, "AP 0.90": 8}
"""Columns that show a single threshold, with its place in the metric's list."""

EXPLANATIONS = {
    "merge": "one prediction holds several nuclei",
    "split": "one nucleus in several pieces",
    "wrong outline": "a pair that overlaps, with an IoU of 0.5 or less",
    "miss": "a nucleus with no prediction",
    "false find": "a prediction with no nucleus",
    "inexact outline": "a match that a higher threshold refuses",
}


class Tile(NamedTuple):
    """One of the large figures at the top of the report."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose columns can be sorted: a caption, a name for each column, and rows of cells."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def intervals(self) -> dict[str, Interval]:
        """The interval in the last column, by the text in the first."""
        return {str(first): last for first, *_, last in self.rows if isinstance(last, Interval)}


def number_text(value: float) -> str:
    """Return a number as text: integers as they are, others with three decimals, NaN as a dash.

    >>> number_text(12), number_text(0.12345), number_text(float("nan"))
    ('12', '0.123', '–')
    """
    if isinstance(value, int):
        return str(value)
    return "–" if math.isnan(value) else f"{value:z.3f}"


def tiles(findings: Sequence[Findings], groups: Sequence[int]) -> list[Tile]:
    """Return the figures at the top of the report: scores, and numbers of images and nuclei."""
    precision = np.stack([f.precision for f in findings])
    score = mean_interval(precision.mean(axis=1), groups)
    true, predicted = np.sum([f.nuclei for f in findings], axis=0)
    return [
        Tile("mAP", number_text(score.mean), f"95 % interval {score.limits}"),
        *(Tile(name, number_text(float(precision[:, n].mean()))) for name, n in THRESHOLDS.items()),
        Tile("Images", f"{len(findings):,}", f"in {len(set(groups))} groups"),
        Tile("Nuclei", f"{true:,}", f"{predicted:,} predicted"),
    ]


def error_costs(findings: Sequence[Findings], groups: Sequence[int]) -> Table:
    """Tabulate the number of errors of each type, and the mAP with the errors of this type mended."""
    score = np.array([f.precision.mean() for f in findings])
    rows: list[list[Cell]] = []
    for error_type in ERROR_TYPES:
        mended = np.array([f.mended[error_type].mean() for f in findings])
        counts = [f.counts[error_type] for f in findings]
        gain = mean_interval(mended - score, groups)
        totals = [sum(counts), sum(n > 0 for n in counts), float(mended.mean())]
        rows.append([error_type, EXPLANATIONS[error_type], *totals, gain])
    head = ["Kind", "What it is", "Number", "Images with it", "mAP if mended", "Gain"]
    return Table("What each kind of error costs", head, rows)


def group_scores(caption: str, names: Sequence[str], precision: np.ndarray, groups: Sequence[int]) -> Table:
    """Tabulate the scores of groups of images, from precision, float64 (images, 10).

    Images that belong together by ``groups`` stay together in the intervals.
    """
    rows: list[list[Cell]] = []
    for name in sorted(set(names), key=group_order):
        chosen = np.array(names) == name
        means = precision[chosen].mean(axis=0)
        interval = mean_interval(precision[chosen].mean(axis=1), np.array(groups)[chosen])
        rows.append([name, int(chosen.sum()), *(float(means[n]) for n in THRESHOLDS.values()), interval])
    return Table(caption, ["Group", "Images", *THRESHOLDS, "mAP"], rows)


def differences(
    groupings: Mapping[str, Sequence[str]], scores: np.ndarray, others: np.ndarray, groups: Sequence[int]
) -> Table:
    """Tabulate the paired differences of two subjects' mAP, float64 (images,), over all images and by group.

    For ``groups`` see ``group_scores``.
    """
    rows: list[list[Cell]] = []
    for grouping, names in {"All": ["all images"] * len(scores), **groupings}.items():
        for name in sorted(set(names), key=group_order):
            chosen = np.array(names) == name
            difference = mean_interval(scores[chosen] - others[chosen], np.array(groups)[chosen])
            means = float(scores[chosen].mean()), float(others[chosen].mean())
            rows.append([grouping, name, int(chosen.sum()), *means, difference])
    head = ["By", "Group", "Images", "This", "Other", "Difference"]
    return Table("Differences, image by image", head, rows)


def member_scores(subject: Subject, findings: Sequence[Findings]) -> dict[str, np.ndarray]:
    """Return the score of each image, float64 (images,), for the ensemble and for each member alone."""
    scores = {subject.name: np.array([f.precision.mean() for f in findings])}
    alone = np.stack([f.member_precision.mean(axis=1) for f in findings], axis=1)
    return scores | {member.name: s for member, s in zip(subject.members, alone, strict=True)}


def members(subject: Subject, findings: Sequence[Findings], groups: Sequence[int]) -> Table:
    """Tabulate each member's score under the ensemble's post-processing, and the ensemble's gain."""
    scores = member_scores(subject, findings)
    ensemble = scores[subject.name]
    rows: list[list[Cell]] = []
    for member, weight in zip(subject.members, subject.weights, strict=True):
        alone = scores[member.name]
        gain = mean_interval(ensemble - alone, groups)
        score = mean_interval(alone, groups)
        rows.append([member.name, float(weight), score, gain, correlation(alone, ensemble)])
    head = ["Member", "Weight", "mAP alone", "Ensemble's gain", "Correlation with the ensemble"]
    return Table("Members under the ensemble's post-processing", head, rows)


def recorded(scores: pd.DataFrame) -> Table:
    """Tabulate the scores over all images in the ``scores.csv`` of ``./run.sh ensemble``: nested first."""
    columns = ["scored", "setting", "ap50", "ap75", "ap90", "map"]
    rows = scores.loc[scores["modality"] == "all", columns].astype(object).to_numpy().tolist()
    return Table("Scores on record", ["Scored", "Setting", *THRESHOLDS, "mAP"], rows)


def suspects(listed: Sequence[Suspect], files: Mapping[Suspect, str]) -> Table:
    """Tabulate the annotations that look wrong, with their mask files."""
    rows: list[list[Cell]] = []
    for s in listed:
        what = [s.image_id, files.get(s, "–"), SUSPECT_TYPES[s.error_type]]
        rows.append([*what, s.suspicion, s.label or "–", s.area, s.x, s.y])
    head = ["ImageId", "Mask file", "What", "Suspicion", "Label", "Pixels", "x", "y"]
    return Table("Labels in doubt", head, rows)


def images(rows: Sequence[FoldRow], findings: Sequence[Findings]) -> Table:
    """Tabulate every image: its score, its difference from the other subject, its errors."""
    compared = bool(findings[0].other_precision.size)
    head = ["ImageId", "Fold", "Modality", "Size", "Nuclei", "Predicted", "mAP"]
    head += ["Difference"] * compared + [error_type.capitalize() for error_type in ERROR_TYPES]
    cells: list[list[Cell]] = []
    for row, f in zip(rows, findings, strict=True):
        score = float(f.precision.mean())
        facts: list[Cell] = [row.image_id, row.fold, row.modality, f"{row.height}×{row.width}", *f.nuclei]
        difference = [score - float(f.other_precision.mean())] if compared else []
        cells.append([*facts, score, *difference, *f.counts.values()])
    return Table("All images", head, cells)
