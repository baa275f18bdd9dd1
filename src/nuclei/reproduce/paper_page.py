"""Write the page of a paper in Markdown, the paper's figures beside ours."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from nuclei.atomic import atomic_write
from nuclei.paths import RunName
from nuclei.postprocess.pipeline import postprocess
from nuclei.progress import track
from nuclei.reproduce.paper_figures import Example, draw_confusion, draw_curves, draw_examples
from nuclei.reproduce.paper_scores import HeldOutScores, class_map, interval
from nuclei.reproduce.systems import Draw, Reproduction

TOO_SHORT = 0.2
"""A run with less than this share of a paper's own training says nothing about the system."""

MARKS = {
    "†": "says nothing about the paper's system: trained for less than a fifth of the paper's schedule.",
    "‡": "scores below Otsu's threshold, which learns nothing.",
}
"""What stands behind the titles of rows that are no results, and what it means."""

OTSU = {
    "components": ("Otsu, connected components", " (0.255 on the 65 test images)"),
    "distance": ("Otsu, watershed", " (about 0.31 on the 65 test images)"),
}
"""Systems without learning, which any other must beat: by post-processing the title and the test score."""


@dataclass(frozen=True)
class Row:
    """One system in the table.

    Attributes:
        theirs, test: the paper's figures, by column, and the one on the competition's test images, or None.
        ours, images: our scores, by column, and the number of held-out images.
        samples: a bootstrap of our scores over the images, a column for each; None where there is none.
        share: crops seen in training, as a share of the paper's own schedule; 0 without training.
        seconds: time of training and predicting.
        submission: path of the CSV file for the test images, or None.
        log: ``metrics.csv`` of one training, or None.
    """

    title: str
    theirs: Mapping[str, float]
    test: float | None
    ours: Mapping[str, float]
    images: int
    share: float = 0.0
    seconds: float = 0.0
    submission: str | None = None
    class_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    log: Path | None = None
    samples: pd.DataFrame | None = None

    def figure(self, column: str) -> str:
        """Return our score as a text, with the interval in which 95 % of the bootstrap lies."""
        if self.samples is None or column not in self.samples:
            return _figure(self.ours.get(column))
        low, high = interval(self.samples[column])
        return f"{_figure(self.ours[column])} ({_figure(low)}–{_figure(high)})"

    @property
    def best_epoch(self) -> str:
        """The epoch with the highest IoU of held-out pixels, and that IoU."""
        table = pd.read_csv(self.log).dropna(subset=["val_iou"]) if self.log else pd.DataFrame()
        if table.empty:
            return "–"
        best = table.loc[table["val_iou"].idxmax()]
        return f"{best['epoch'] + 1:.0f} of {len(table)} ({best['val_iou']:.3f})"

    def mark(self, main: str, floor: float) -> str:
        """Return the mark of a row that was trained too short, or scored below the floor; else nothing."""
        if 0 < self.share < TOO_SHORT:
            return "†"
        return "‡" if self.share > 0 and self.ours[main] < floor else ""


def reproduce(
    study: Reproduction,
    only: Sequence[str] | None,
    folder: Path,
    submissions: Path,
    command: str,
    commit: str,
) -> str:
    """Train what is missing, score, write the page with its figures and submissions; say what was written.

    ``only`` names systems, None all of them; the command and the commit are for the page.
    """
    paper = study.paper
    names = paper.choose(only)
    runs, draws = study.train_all(names)
    scores = {n: study.scores(runs[n], paper.systems[n].postprocess) for n in track(names, "score")}
    rows = {name: _row(study, name, runs[name], scores[name], submissions) for name in names}
    draw_curves(folder / f"{paper.name}_curves.png", {row.title: row.log for row in rows.values() if row.log})
    # Maps of classes show more than outlines do.
    best = max(names, key=lambda name: (len(scores[name].classes), rows[name].ours[paper.main]))
    shown = [name for name in paper.examples if name in names] or [best]
    examples = [example for name in shown for example in _examples(study, name, runs[name], scores[name])]
    classes = scores[best].classes if len(scores[best].classes) > 2 else []
    draw_examples(folder / f"{paper.name}_examples.jpg", examples, classes)
    if classes:
        confusion = folder / f"{paper.name}_confusion.png"
        draw_confusion(confusion, rows[best].title, scores[best].confusion, classes)
    examples_by = ", then by ".join(rows[name].title for name in shown)
    otsu = [_otsu_row(study, name) for name in OTSU]
    confused = rows[best].title if classes else None
    text = page_text(study, rows, otsu, draws, command, commit, examples_by, confused)
    path = folder / f"{paper.name}.md"
    with atomic_write(path) as part:
        part.write_text(text)
    return f"wrote {path}; {len(rows)} systems, examples by {examples_by}"


def _row(
    study: Reproduction, name: str, runs: Sequence[RunName], scores: HeldOutScores, submissions: Path
) -> Row:
    system = study.paper.systems[name]
    ours = scores.scores()
    if "training accuracy" in study.paper.columns:
        ours["training accuracy"] = study.training_accuracy(runs[0])
    submission = submissions / "papers" / f"{study.paper.name}_{name}.csv"
    if study.paper.submissions:
        study.write_submission(submission, runs, system.postprocess)
    return Row(
        title=system.title,
        theirs=system.theirs or {},
        test=system.test,
        ours=ours,
        images=len(scores.precision),
        share=study.trained_share(runs),
        seconds=study.seconds(runs),
        submission=submission.as_posix() if study.paper.submissions else None,
        class_scores=scores.class_scores(),
        log=study.folders(runs)[0].metrics if system.train else None,
        samples=scores.bootstrap(),
    )


def _otsu_row(study: Reproduction, postprocess_name: str) -> Row:
    scores = study.scores([study.train_otsu(postprocess_name)])
    title, test_score = OTSU[postprocess_name]
    title += test_score * study.paper.submissions
    return Row(title, {}, None, scores.scores(), len(scores.precision))


def _examples(
    study: Reproduction, name: str, runs: Sequence[RunName], scores: HeldOutScores
) -> list[Example]:
    """Return two held-out images: at the 80th and at the 20th percentile of the system's score."""
    order = sorted(scores.precision, key=lambda i: (float(scores.precision[i].mean()), i))
    chosen = [order[round(share * (len(order) - 1))] for share in (0.8, 0.2)]
    steps = study.steps(runs[0], study.paper.systems[name].postprocess)
    examples = {}
    for image_id, maps in study.maps(runs):
        if image_id in chosen:
            truth, labels = study.store.labels(image_id), postprocess(maps, scores.channels, steps)
            if len(scores.classes) > 2:
                truth, labels = study.store.classes(image_id)[truth], class_map(maps, scores.channels)
            examples[image_id] = (study.store.image(image_id), truth, labels)
    return [examples[i] for i in chosen]


def hardware() -> str:
    """Return the name of the GPU, or the number of cores in use and the name of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    processor = names[0] if names else platform.machine()
    return f"{torch.get_num_threads()} of {os.cpu_count()} cores of {processor}"


def page_text(
    study: Reproduction,
    systems: Mapping[str, Row],
    otsu: Sequence[Row],
    draws: Mapping[str, Sequence[Draw]],
    command: str,
    commit: str,
    examples_by: str,
    confused: str | None,
) -> str:
    """Return the whole page.

    Args:
        systems, draws: by the system's name.
        otsu: systems without learning, whose best score is the floor for the others.
        examples_by: titles of the systems whose examples are shown.
        confused: title of the system whose confusion of classes is drawn; None where no classes are.
    """
    paper, rows = study.paper, list(systems.values())
    main, floor = paper.main, max(row.ours[paper.main] for row in otsu)
    minutes = sum(row.seconds for row in rows if row.log) / 60
    made = (
        f"Commit `{commit}`, seed {study.seed}, budget `{study.budget_name}`: {minutes:.0f} minutes of "
        f"training and predicting, on {hardware()}. Ours are held-out figures: fold "
        f"{', '.join(map(str, study.held_out))} of `{study.paths.folds}`, {rows[0].images} images that the "
        f"networks did not see. {paper.protocol.strip()}"
    )
    marks = {row.mark(main, floor) for row in rows}
    compared = [(systems[a], systems[b]) for a, b in paper.compare if a in systems and b in systems]
    paragraphs = [
        f"# {paper.title}",
        paper.about.strip(),
        f"```\n{command}\n```",
        *([paper.learned.strip()] if paper.learned else []),
        made,
        systems_table(paper.columns, [*rows, *otsu], main, floor),
        *(f"{mark} {means}" for mark, means in MARKS.items() if mark in marks),
        "\n".join(f"- **{row.title}**: {difference(main, row)}" for row in rows),
        *(["\n".join(comparison(main, a, b) for a, b in compared)] if compared else []),
        *([paper.below_otsu.strip()] if any(row.ours[main] < floor for row in rows) else []),
        *(part for row in rows if len(row.class_scores) > 2 for part in class_table(row)),
    ]
    if confused:
        paragraphs += [
            f"What {confused} takes each class for, as shares of its pixels:",
            f"![Confusion of classes]({paper.name}_confusion.png)",
        ]
    if paper.search and draws:
        table = search_table({systems[name].title: draws[name] for name in draws}, paper.search.measure)
        paragraphs += ["## The search", paper.search.about.strip(), table]
    paragraphs += [
        "## How the paper was read",
        paper.notes.strip(),
        "## By epoch",
        f"![Loss, accuracy and IoU by epoch]({paper.name}_curves.png)",
        "## Examples",
        f"By {examples_by}; held-out images at the 80th and at the 20th percentile of its mAP.",
        f"![Image, truth and prediction]({paper.name}_examples.jpg)\n",
    ]
    return "\n\n".join(paragraphs)


def systems_table(columns: Sequence[str], rows: Sequence[Row], main: str, floor: float) -> str:
    """Return the table of systems: the paper's figures and ours, and the submissions for the test images.

    Systems that say nothing, by the column ``main`` and the ``floor`` in it, are marked.
    """
    titles = [f"{row.title} {row.mark(main, floor)}".rstrip() for row in rows]
    table: dict[str, list[str]] = {"system": titles}
    if any(row.test is not None for row in rows):
        table["test images, theirs"] = [_figure(row.test) for row in rows]
    if any(row.submission for row in rows):
        links = [f"[CSV](../../{row.submission})" if row.submission else "–" for row in rows]
        table["our submission"] = links
    for column in columns:
        if any(column in row.theirs for row in rows):
            table[f"{column}, theirs"] = [_figure(row.theirs.get(column)) for row in rows]
        table[f"{column}, ours"] = [row.figure(column) for row in rows]
    table["trained"] = [f"{row.share:.1%} of theirs" if row.share else "–" for row in rows]
    if any(row.log for row in rows):
        table["best epoch (IoU of held-out pixels)"] = [row.best_epoch for row in rows]
    table["time"] = [f"{row.seconds:.0f} s" for row in rows]
    return _markdown(table)


def difference(column: str, row: Row) -> str:
    """Return in words how far our figure is from the paper's, and whether this says anything."""
    if row.theirs and column not in row.theirs and row.test is None:
        column = list(row.theirs)[-1]
    ours, theirs, images = row.ours[column], row.theirs.get(column), "on their own split"
    if theirs is None:
        theirs, images = row.test, "on the 65 test images"
    text = f"{column} {ours:.3f} on {row.images} held-out images"
    if theirs is None:
        text += "; they give no figure"
    elif abs(ours - theirs) < 0.0005:
        text += f", the same as their {theirs:g} {images}"
    else:
        direction = "higher" if ours > theirs else "lower"
        text += f", {abs(ours - theirs):.3f} {direction} than their {theirs:g} {images}"
    if 0 < row.share < TOO_SHORT:
        return f"{text}. Trained for {row.share:.1%} of their schedule: too short to say anything about it."
    return f"{text}{f', after {row.share:.0%} of their training' if row.share else ''}."


def comparison(column: str, row: Row, other: Row) -> str:
    """Return in words how much higher a system scores than another, on the same samples of images."""
    gain = row.ours[column] - other.ours[column]
    text = f"- {row.title}, less {other.title}: {column} {gain:+.3f}"
    if row.samples is None or other.samples is None:
        return text
    low, high = interval(row.samples[column] - other.samples[column])
    sure = "higher" if low > 0 else "lower" if high < 0 else "not told apart"
    return f"{text} ({low:+.3f} to {high:+.3f}), {sure}."


def class_table(row: Row) -> tuple[str, str]:
    """Return the heading and the table of a system's precision, recall, F1 and IoU of each pixel class."""
    table: dict[str, list[str]] = {"class": list(row.class_scores)}
    for name in next(iter(row.class_scores.values())):
        table[name] = [_figure(scores[name]) for scores in row.class_scores.values()]
    return f"{row.title}, pixels by class:", _markdown(table)


def search_table(draws: Mapping[str, Sequence[Draw]], measure: str) -> str:
    """Return the table of the learning rates that were drawn, with each system's score."""
    scores = {title: {draw.rate: draw.score for draw in of_title} for title, of_title in draws.items()}
    rates = sorted({rate for by_rate in scores.values() for rate in by_rate})
    table = {"learning rate": [f"{rate:.2e}" for rate in rates]}
    table |= {f"{title}, {measure}": [_figure(s[rate]) for rate in rates] for title, s in scores.items()}
    return _markdown(table)


def _figure(value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.4f}"


def _markdown(columns: Mapping[str, Sequence[str]]) -> str:
    return str(pd.DataFrame(columns).to_markdown(index=False, disable_numparse=True))
