"""Write the report of ``./run.sh analyse``: one HTML file with plots, pictures, tables and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nuclei.analysis import error_types, figures, tables
from nuclei.analysis.image_analysis import Findings, Subject, analyse_image, mask_files, most_suspicious
from nuclei.analysis.score_statistics import Interval, calibration_error, group_images
from nuclei.atomic import atomic_write
from nuclei.data.folds import FoldRow
from nuclei.data.sources.dsb2018 import Dsb2018Item
from nuclei.data.store import Store
from nuclei.progress import parallel_map, track

HERE = Path(__file__).parent
SECTIONS = {
    "summary": "Summary",
    "lost": "Errors",
    "thresholds": "Thresholds",
    "groups": "Groups",
    "members": "Members",
    "compare": "Compared",
    "calibration": "Calibration",
    "training": "Training",
    "worst": "Worst",
    "best": "Best",
    "suspects": "Labels in doubt",
    "images": "All images",
}


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        other: another run or ensemble to compare with, or None.
        nested_score: nested mAP of the ensemble; None for a run.
        recorded_scores: the ensemble's ``scores.csv``; None for a run, or without this file.
        data_root, items: the competition's files, and the training images in them, or None without any.
    """

    data: str
    store: Store
    rows: Sequence[FoldRow]
    subject: Subject
    other: Subject | None
    nested_score: float | None
    recorded_scores: pd.DataFrame | None
    data_root: Path
    items: Sequence[object] | None


def write_report(
    path: Path, sources: Sources, *, examples: int, suspects: int, workers: int
) -> Sequence[tables.Tile]:
    """Analyse every image, write the report, and return the figures at its top.

    It shows at most ``examples`` of the worst and of the best images, and ``suspects`` of each error type.
    """
    ids = [row.image_id for row in sources.rows]
    analyse = partial(analyse_image, sources.store, sources.subject, sources.other)
    findings = list(track(parallel_map(analyse, ids, workers), "examine", len(ids)))
    contents = collect(sources, findings, examples, suspects)
    with atomic_write(path) as part:
        part.write_text(render(contents))
    return list(contents["tiles"])


def collect(sources: Sources, findings: Sequence[Findings], examples: int, suspects: int) -> dict[str, Any]:
    """Return everything that the template ``report.html.j2`` shows, by the names used there."""
    subject, other, rows, store = sources.subject, sources.other, sources.rows, sources.store
    groups = [row.group for row in rows]
    precision = np.stack([f.precision for f in findings])
    medians = [float(np.median(f.diameters)) if len(f.diameters) else float("nan") for f in findings]
    groupings = group_images(rows, medians, [f.crowding for f in findings])
    group_scores = [tables.group_scores(name, of, precision, groups) for name, of in groupings.items()]
    calibration = np.sum([f.calibration for f in findings], axis=0)
    errors = zip(subject.calibrated, map(calibration_error, calibration), strict=True)
    absent = {"members": len(subject.members) < 2, "compare": not other}
    lost = tables.error_costs(findings, groups)
    drawn = {
        "costs": figures.error_costs(lost),
        "thresholds": figures.precision_by_threshold(precision_curves(sources, findings), groups),
        "groups": figures.group_scores(group_scores),
        "found": figures.recall_by_diameter(findings),
        "calibration": figures.calibration(calibration, subject.calibrated),
    }
    logs = figures.training_logs([subject, other] if other else [subject])
    if any(logs.values()):
        drawn["training"] = figures.training_curves({run: files for run, files in logs.items() if files})
    if len(subject.members) > 1:
        drawn["correlations"] = figures.correlations(tables.member_scores(subject, findings))
    differences = None
    if other:
        scores = precision.mean(axis=1), np.stack([f.other_precision for f in findings]).mean(axis=1)
        differences = tables.differences(groupings, *scores, groups)
        drawn["against"] = figures.paired_scores(
            [subject.name, other.name], scores, [f.image_id for f in findings]
        )
    best, worst = figures.best_and_worst(findings, examples)
    cards = [figures.image_card(store, subject, f) for f in track([*worst, *best], "draw images")]
    listed = most_suspicious([s for f in findings for s in f.suspects], suspects)
    nested, record = sources.nested_score, sources.recorded_scores
    return {
        "sections": {key: name for key, name in SECTIONS.items() if not absent.get(key)},
        "title": f"{subject.name} on {sources.data}",
        "lead": f"Out-of-fold predictions of the training images: {members_text(subject)}. "
        f"Post-processing: {subject.postprocessing}.",
        "nested": nested,
        "tiles": [
            *([] if nested is None else [tables.Tile("mAP, nested", f"{nested:.3f}")]),
            *tables.tiles(findings, groups),
        ],
        "lost": lost,
        "definitions": str(error_types.__doc__).split("\n\n", 1)[1],
        "groups": group_scores,
        "members": tables.members(subject, findings, groups) if len(subject.members) > 1 else None,
        "recorded": None if record is None else tables.recorded(record),
        "other": other,
        "differences": differences,
        "miscalibrated": f"Expected calibration error: {', '.join(f'{c} {e:.3f}' for c, e in errors)}.",
        "untrained": ", ".join(run for run, files in logs.items() if not files),
        "examples": [
            ("worst", f"The worst {len(worst)} images", cards[: len(worst)]),
            ("best", f"The best {len(best)} images", cards[len(worst) :]),
        ],
        "suspects": tables.suspects(listed, mask_files(sources.items or [], store, listed)),
        "masks_note": masks_note(sources),
        "suspect_cards": figures.suspect_cards(store, subject, listed),
        "images": tables.images(rows, findings),
        "plots": drawn,
        # A script element ends at the first "</", wherever it stands.
        "figures": {name: Markup(plot.to_json().replace("</", "<\\/")) for name, plot in drawn.items()},
    }


def members_text(subject: Subject) -> str:
    """Return the members of a subject with their weights as text."""
    pairs = zip(subject.weights, subject.members, strict=True)
    return " + ".join(f"{weight:.3g} × {member.name}" for weight, member in pairs)


def masks_note(sources: Sources) -> str:
    """Return the reason why the report has no names of mask files, empty where it has them."""
    if sources.items is None:
        place = sources.data_root
        return f"The names of the mask files are missing: the competition's files are not at {place}."
    if not any(isinstance(item, Dsb2018Item) for item in sources.items):
        return f"{sources.data} has no file for each nucleus."
    return ""


def precision_curves(sources: Sources, findings: Sequence[Findings]) -> dict[str, np.ndarray]:
    """Return float64 (images, 10) by name: of the subject, the other one, each member, each modality."""
    subject, other = sources.subject, sources.other
    precision = np.stack([f.precision for f in findings])
    curves = {subject.name: precision}
    if other:
        curves[other.name] = np.stack([f.other_precision for f in findings])
    if len(subject.members) > 1:
        alone = np.stack([f.member_precision for f in findings], axis=1)
        curves |= {f"{m.name} alone": p for m, p in zip(subject.members, alone, strict=True)}
    modalities = np.array([row.modality for row in sources.rows])
    return curves | {str(name): precision[modalities == name] for name in np.unique(modalities)}


def render(contents: Mapping[str, Any]) -> str:
    """Fill the template ``report.html.j2``; a name that is missing in the contents is an error."""
    environment = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=True)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["number"] = tables.number_text
    environment.tests["interval"] = lambda value: isinstance(value, Interval)
    return environment.get_template("report.html.j2").render(
        **contents,
        style=Markup((HERE / "report.css").read_text()),
        script=Markup((HERE / "report.js").read_text()),
        plotly=Markup(get_plotlyjs()),
        colours=figures.COLOURS,
    )
