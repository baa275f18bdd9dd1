"""Write the report of ``./run.sh analyse``: one HTML file with plots, pictures, tables and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nuclei.analysis import error_types, pictures, plots, tables
from nuclei.analysis.findings import Findings, Subject, analyse_images, mask_files, most_suspicious
from nuclei.analysis.statistics import Interval, calibration_error, group_images
from nuclei.atomic import atomic_write
from nuclei.data.folds import FoldRow
from nuclei.data.sources.dsb2018 import Dsb2018Item
from nuclei.data.store import Store
from nuclei.progress import track

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
TUNED_ON_ALL = (
    "All below is under the settings (and the trees, where there is a second stage) that were chosen on "
    "all images, so it is somewhat too good; the nested score, of what has not seen the fold that it is "
    "scored on, is the one that ./run.sh ensemble found."
)


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        data: name of the data set.
        store: its images and label maps.
        rows: rows of the folds file.
        subject: the run or ensemble under analysis.
        other: another one to compare with, or None.
        nested_score: nested mAP of the ensemble; None for a run.
        recorded_scores: the ensemble's ``scores.csv``; None for a run, or without this file.
        data_root: folder of the competition's files.
        items: the training images among these files; None where the files are absent.
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


@dataclass(frozen=True)
class Contents:
    """Everything that the template ``report.html.j2`` shows, by the names used there.

    Attributes:
        title, lead, stated: heading and first lines.
        tiles: large figures at the top.
        lost: table of what each type of error costs.
        definitions: how the error types are defined.
        groups: a table for each way to group the images.
        members: table of the members of an ensemble; None for a run.
        recorded: table of the scores that ``./run.sh ensemble`` wrote, or None.
        other, other_steps: name and post-processing of the subject compared with; empty without one.
        differences: table of the paired differences; None without a comparison.
        miscalibrated: calibration errors in words.
        untrained: names of runs without a log of a training.
        examples: id, heading and cards of the best and the worst images.
        suspects, masks_note, suspect_cards: annotations that look wrong.
        images: table of all images.
        plots: the plots by name.
    """

    title: str
    lead: str
    stated: str
    tiles: Sequence[tables.Tile]
    lost: tables.Table
    definitions: str
    groups: Sequence[tables.Table]
    members: tables.Table | None
    recorded: tables.Table | None
    other: str
    other_steps: str
    differences: tables.Table | None
    miscalibrated: str
    untrained: str
    examples: Sequence[tuple[str, str, Sequence[pictures.Card]]]
    suspects: tables.Table
    masks_note: str
    suspect_cards: Sequence[pictures.Card]
    images: tables.Table
    plots: Mapping[str, go.Figure]

    @property
    def sections(self) -> dict[str, str]:
        """Headings of the sections that are not empty, by id."""
        absent = {"members": not self.members, "compare": not self.differences}
        return {key: name for key, name in SECTIONS.items() if not absent.get(key)}


def write_report(
    path: Path, sources: Sources, *, examples: int, suspects: int, workers: int
) -> Sequence[tables.Tile]:
    """Analyse every image and write the report.

    Args:
        path: the HTML file.
        sources: what is analysed.
        examples: greatest number of worst images to show, and of best ones.
        suspects: greatest number of annotations that look wrong to show, of each error type.
        workers: number of processes.

    Returns:
        The figures at the top of the report.
    """
    ids = [row.image_id for row in sources.rows]
    analysed = analyse_images(sources.store, sources.subject, sources.other, ids, workers)
    findings = list(track(analysed, "examine", len(ids)))
    contents = collect(sources, findings, examples, suspects)
    with atomic_write(path) as part:
        part.write_text(render(contents))
    return contents.tiles


def collect(sources: Sources, findings: Sequence[Findings], examples: int, suspects: int) -> Contents:
    """Draw the tables, plots and pictures of a report; the arguments are those of ``write_report``."""
    subject, other, rows, store = sources.subject, sources.other, sources.rows, sources.store
    groups = [row.group for row in rows]
    precision = np.stack([f.precision for f in findings])
    medians = [float(np.median(f.diameters)) if len(f.diameters) else float("nan") for f in findings]
    groupings = group_images(rows, medians, [f.crowding for f in findings])
    group_scores = [tables.group_scores(name, of, precision, groups) for name, of in groupings.items()]
    calibration = np.sum([f.calibration for f in findings], axis=0)
    errors = zip(subject.calibrated, map(calibration_error, calibration), strict=True)
    lost = tables.error_costs(findings, groups)
    drawn = {
        "costs": plots.error_costs(lost),
        "thresholds": plots.precision_by_threshold(precision_curves(sources, findings), groups),
        "groups": plots.group_scores(group_scores),
        "found": plots.recall_by_diameter(findings),
        "calibration": plots.calibration(calibration, subject.calibrated),
    }
    logs = plots.training_logs([subject, other] if other else [subject])
    if any(logs.values()):
        drawn["training"] = plots.training_curves({run: files for run, files in logs.items() if files})
    if len(subject.members) > 1:
        drawn["correlations"] = plots.correlations(tables.member_scores(subject, findings))
    differences = None
    if other:
        scores = precision.mean(axis=1), np.stack([f.other_precision for f in findings]).mean(axis=1)
        differences = tables.differences(groupings, *scores, groups)
        drawn["against"] = plots.paired_scores(
            [subject.name, other.name], scores, [f.image_id for f in findings]
        )
    best, worst = pictures.best_and_worst(findings, examples)
    cards = [pictures.image_card(store, subject, f) for f in track([*worst, *best], "draw images")]
    listed = most_suspicious([s for f in findings for s in f.suspects], suspects)
    nested, record = sources.nested_score, sources.recorded_scores
    return Contents(
        title=f"{subject.name} on {sources.data}",
        lead=f"Out-of-fold predictions of the training images: {members_text(subject)}. "
        f"Post-processing: {subject.postprocessing}.",
        stated="" if nested is None else TUNED_ON_ALL,
        tiles=[
            *([] if nested is None else [tables.Tile("mAP, nested", f"{nested:.3f}")]),
            *tables.tiles(findings, groups),
        ],
        lost=lost,
        definitions=str(error_types.__doc__).split("\n\n", 1)[1],
        groups=group_scores,
        members=tables.members(subject, findings, groups) if len(subject.members) > 1 else None,
        recorded=None if record is None else tables.recorded(record),
        other=other.name if other else "",
        other_steps=other.postprocessing if other else "",
        differences=differences,
        miscalibrated=f"Expected calibration error: {', '.join(f'{c} {e:.3f}' for c, e in errors)}.",
        untrained=", ".join(run for run, files in logs.items() if not files),
        examples=[
            ("worst", f"The worst {len(worst)} images", cards[: len(worst)]),
            ("best", f"The best {len(best)} images", cards[len(worst) :]),
        ],
        suspects=tables.suspects(listed, mask_files(sources.items or [], store, listed)),
        masks_note=masks_note(sources),
        suspect_cards=pictures.suspect_cards(store, subject, listed),
        images=tables.images(rows, findings),
        plots=drawn,
    )


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


def render(contents: Contents) -> str:
    """Fill the template ``report.html.j2``; a name that is missing in the contents is an error."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = tables.number_text
    environment.tests["interval"] = lambda value: isinstance(value, Interval)
    # A script element ends at the first "</", wherever it stands.
    figures = {name: Markup(plot.to_json().replace("</", "<\\/")) for name, plot in contents.plots.items()}
    return environment.get_template("report.html.j2").render(
        **vars(contents),
        sections=contents.sections,
        figures=figures,
        style=Markup((HERE / "report.css").read_text()),
        script=Markup((HERE / "report.js").read_text()),
        plotly=Markup(get_plotlyjs()),
        colours=pictures.COLOURS,
    )
