"""What goes into the report: findings turned into tables, figures and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nuclei.analysis import error_types as errors
from nuclei.analysis import plots, tables
from nuclei.analysis.calibration import calibration_error
from nuclei.analysis.confidence_intervals import mean_interval
from nuclei.analysis.findings import Findings, Subject, calibrated
from nuclei.analysis.groups import groupings
from nuclei.analysis.label_suspects import KINDS, Suspect
from nuclei.analysis.report import ends, figure

Rows = Sequence[Mapping[str, Any]]


def contents(
    subject: Subject, other: Subject | None, rows: Rows, found: Sequence[Findings]
) -> tuple[dict[str, Any], dict[str, go.Figure]]:
    """Return the template's context, but for the pictures, and the figures.

    Args:
        subject: what was analysed.
        other: what it is compared with.
        rows: of the folds file, in the order of ``found``.
        found: the findings of each image.
    """
    groups = [row["group"] for row in rows]
    precision = np.stack([f.precision for f in found])
    medians = [float(np.median(f.diameters)) if len(f.diameters) else float("nan") for f in found]
    names = groupings(rows, medians, [f.crowding for f in found])
    grouped = [tables.by_group(name, of_image, precision, groups) for name, of_image in names.items()]
    lost = tables.lost(found, groups)
    tallied = np.sum([f.tallied for f in found], axis=0)
    channels = calibrated(subject)
    drawn = {
        "costs": plots.costs(lost),
        "thresholds": plots.by_threshold(curves(subject, other, rows, found, precision), groups),
        "groups": plots.groups_of(grouped),
        "found": plots.found_by_diameter(found),
        "calibration": plots.calibration(tallied, channels),
    }
    context: dict[str, Any] = {
        "tiles": tiles(found, precision, groups),
        "lost": lost,
        "definitions": str(errors.__doc__).split("\n\n", 1)[1],
        "groups": grouped,
        "members": None,
        "differences": None,
        "other": other.name if other else "",
        "other_steps": described(other) if other else "",
        "miscalibrated": "Expected calibration error: "
        + ", ".join(f"{name} {calibration_error(t):.3f}" for name, t in zip(channels, tallied, strict=True))
        + ".",
        "images": tables.images(rows, found),
    }
    if len(subject.members) > 1:
        context["members"] = tables.members(subject, found, groups)
        drawn["correlations"] = plots.correlations(of_members(subject, found))
    if other:
        theirs = np.stack([f.other for f in found])
        context["differences"] = tables.differences(names, precision, theirs, groups)
        scores = [precision.mean(axis=1), theirs.mean(axis=1)]
        drawn["against"] = plots.one_against_other(
            [subject.name, other.name], scores, [f.image_id for f in found]
        )
    return context, drawn


def described(subject: Subject) -> str:
    """Write the post-processing of a subject."""
    return "; ".join(str(step) for step in subject.steps)


def tiles(
    found: Sequence[Findings], precision: np.ndarray, groups: Sequence[int]
) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, note."""
    score = mean_interval(precision.mean(axis=1), groups)
    at = [(name, figure(float(precision[:, i].mean())), "") for name, i in tables.AT.items()]
    nuclei, predicted = (sum(f.nuclei[i] for f in found) for i in (0, 1))
    pictures = f"in {len(set(groups))} groups"
    return [
        ("mAP", figure(score.mean), f"95 % interval {ends(score)}"),
        *at,
        ("Images", f"{len(found):,}", pictures),
        ("Nuclei", f"{nuclei:,}", f"{predicted:,} predicted"),
    ]


def curves(
    subject: Subject, other: Subject | None, rows: Rows, found: Sequence[Findings], precision: np.ndarray
) -> dict[str, np.ndarray]:
    """The precision of everything that is shown over the threshold; the subject first."""
    shown = {subject.name: precision}
    if other:
        shown[other.name] = np.stack([f.other for f in found])
    for n, member in enumerate(subject.members if len(subject.members) > 1 else ()):
        shown[f"{member.name} alone"] = np.stack([f.members[n] for f in found])
    modalities = [row["modality"] for row in rows]
    return shown | {name: precision[np.array(modalities) == name] for name in sorted(set(modalities))}


def of_members(subject: Subject, found: Sequence[Findings]) -> dict[str, np.ndarray]:
    """The score of each image, of the ensemble and of each member alone."""
    alone = np.stack([f.members.mean(axis=1) for f in found], axis=1)
    names = [member.name for member in subject.members]
    return {subject.name: np.array([f.precision.mean() for f in found])} | dict(
        zip(names, alone, strict=True)
    )


def suspects_table(listed: Sequence[Suspect], files: Mapping[Suspect, str]) -> tables.Table:
    """The labels in doubt, with their mask files."""
    rows = [
        [s.image_id, files.get(s, "–"), KINDS[s.kind], s.suspicion, s.label or "–", s.area, s.x, s.y]
        for s in listed
    ]
    head = ["ImageId", "Mask file", "What", "Suspicion", "Label", "Pixels", "x", "y"]
    return tables.Table("Labels in doubt", head, rows)
