"""Write the page of a paper in Markdown, the paper's figures beside ours, and draw its figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from nuclei.atomic import atomic_write
from nuclei.data.preprocessing import stretch_contrast
from nuclei.paths import RunName
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import track
from nuclei.reproduce.paper_scores import HeldOutScores, class_map
from nuclei.reproduce.systems import Draw, Paper, Reproduction

WIDTH = 320  # of each panel of an example, in pixels
LOGARITHMIC = 30  # losses that differ by more than this factor are drawn on a logarithmic axis
TITLE_HEIGHT = 22  # of the line above a panel, in pixels

Example = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_curves(path: Path, logs: Mapping[str, Path]) -> None:
    """Draw the loss by epoch, on training and on held-out crops, from ``metrics.csv`` by system."""
    columns = min(3, len(logs))
    rows = -(-len(logs) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows), layout="constrained")
    for n, (title, log) in enumerate(logs.items(), 1):
        table = pd.read_csv(log)
        axes = figure.add_subplot(rows, columns, n)
        marker = "." if len(table) < 9 else ""
        for name, label, style in (("loss", "training", "-"), ("val_loss", "held-out", "--")):
            axes.plot(table["epoch"] + 1, table[name], style, label=label, marker=marker)
        losses = table[["loss", "val_loss"]].to_numpy()
        if np.nanmax(losses) > LOGARITHMIC * np.nanmin(losses) > 0:
            axes.set_yscale("log")
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        if n == 1:
            axes.legend(fontsize=7)
            axes.set_xlabel("epoch", fontsize=7)
            axes.set_ylabel("loss", fontsize=7)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=100)


def draw_examples(path: Path, examples: Sequence[Example], classes: Sequence[str]) -> None:
    """Draw rows of image, truth and prediction.

    An image is uint8 (H, W) or (H, W, 3), the others integers (H, W): classes of pixels where there are
    ``classes``, background first, else labels.
    """
    rows = []
    for image, *labels in examples:
        # The networks see stretched images too, and dark fluorescence would be black on the page.
        ground = stretch_contrast(image if image.ndim == 3 else np.repeat(image[..., None], 3, 2), high=99.8)
        overlay = _coloured if classes else _outlined
        panels = [ground, *(overlay(ground, values) for values in labels)]
        rows.append([_panel(p, t) for p, t in zip(panels, ("image", "truth", "prediction"), strict=True)])
    lines = [np.hstack(row) for row in rows]
    if classes:
        lines.append(_legend(classes[1:], lines[0].shape[1]))
    encoded = cv2.imencode(".jpg", np.vstack(lines)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    with atomic_write(path) as part:
        part.write_bytes(encoded.tobytes())


def class_colour(number: np.ndarray | int) -> np.ndarray:
    """Return the colour of a class, 1 and more, as RGB uint8."""
    return (np.asarray(colormaps["tab10"](np.asarray(number) - 1))[..., :3] * 255).astype(np.uint8)


def _coloured(ground: np.ndarray, classes: np.ndarray) -> np.ndarray:
    tinted = np.where(classes[..., None] > 0, class_colour(np.maximum(classes, 1)), ground)
    return (0.35 * ground + 0.65 * tinted).astype(np.uint8)


def _outlined(ground: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rim = find_boundaries(labels, mode="inner")
    return np.where(rim[..., None], np.array([255, 220, 0], np.uint8), ground)


def _panel(picture: np.ndarray, title: str) -> np.ndarray:
    """Return a picture of ``WIDTH`` pixels with a title above and a white margin."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    interpolation = cv2.INTER_NEAREST if picture.shape[1] < WIDTH else cv2.INTER_AREA
    panel = np.full((height + TITLE_HEIGHT + 6, WIDTH + 6, 3), 255, np.uint8)
    panel[TITLE_HEIGHT : TITLE_HEIGHT + height, :WIDTH] = cv2.resize(
        picture, (WIDTH, height), interpolation=interpolation
    )
    return cv2.putText(panel, title, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)


def _legend(classes: Sequence[str], width: int) -> np.ndarray:
    line, x = np.full((TITLE_HEIGHT + 4, width, 3), 255, np.uint8), 4
    for number, name in enumerate(classes, 1):
        line[6:18, x : x + 12] = class_colour(number)
        cv2.putText(line, name, (x + 16, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
        x += 30 + 8 * len(name)
    return line


TOO_SHORT = 0.2
"""A run with less than this share of a paper's own training says nothing about the system."""

SILENT = "†"
SILENT_MEANS = (
    "says nothing about the paper's system: it was trained for less than a fifth of the paper's schedule, "
    "or its score is below that of Otsu's threshold, which learns nothing."
)

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
        share: crops seen in training, as a share of the paper's own schedule; 0 without training.
        seconds: time of training and predicting.
        submission: path of the CSV file for the test images, or None.
        class_scores: scores of each pixel class.
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

    def silent(self, main: str, floor: float) -> bool:
        """Return whether the row says nothing: trained too short, or scored below the floor."""
        return 0 < self.share < TOO_SHORT or (self.share > 0 and self.ours[main] < floor)


@dataclass(frozen=True)
class Page:
    """Everything on a page; ``otsu`` are systems without learning, ``draws`` those of a search by title."""

    paper: Paper
    command: str
    commit: str
    seed: int
    budget: str
    hardware: str
    held_out: str
    rows: Sequence[Row]
    otsu: Sequence[Row]
    draws: Mapping[str, Sequence[Draw]]
    examples_by: str

    @property
    def floor(self) -> float:
        """The best score in the main column without learning; 0 where that was not measured."""
        return max((row.ours[self.paper.main] for row in self.otsu), default=0.0)


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
    logs = {row.title: row.log for row in rows.values() if row.log}
    draw_curves(folder / f"{paper.name}_curves.png", logs)
    # Maps of classes show more than outlines do.
    best = max(names, key=lambda name: (len(scores[name].classes), rows[name].ours[paper.main]))
    steps = study.steps(runs[best][0], paper.systems[best].postprocess)
    _draw_examples(study, folder / f"{paper.name}_examples.jpg", runs[best], steps, scores[best])
    page = Page(
        paper=paper,
        command=command,
        commit=commit,
        seed=study.seed,
        budget=study.budget_name,
        hardware=hardware(),
        held_out=f"fold {', '.join(map(str, study.held_out))} of `{study.paths.folds}`",
        rows=list(rows.values()),
        otsu=[_otsu_row(study, name) for name in OTSU],
        draws={rows[name].title: draws[name] for name in draws},
        examples_by=rows[best].title,
    )
    path = folder / f"{paper.name}.md"
    with atomic_write(path) as part:
        part.write_text(page_text(page))
    return f"wrote {path}; {len(rows)} systems, examples by {page.examples_by}"


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
    )


def _otsu_row(study: Reproduction, postprocess_name: str) -> Row:
    scores = study.scores([study.train_otsu(postprocess_name)])
    title, test_score = OTSU[postprocess_name]
    title += test_score * study.paper.submissions
    return Row(title, {}, None, scores.scores(), len(scores.precision))


def _draw_examples(
    study: Reproduction, path: Path, runs: Sequence[RunName], steps: Sequence[Step], scores: HeldOutScores
) -> None:
    """Draw two held-out images: at the 80th and at the 20th percentile of the score."""
    order = sorted(scores.precision, key=lambda i: (float(scores.precision[i].mean()), i))
    chosen = [order[round(share * (len(order) - 1))] for share in (0.8, 0.2)]
    has_classes, examples = len(scores.classes) > 2, {}
    for image_id, maps in study.maps(runs):
        if image_id in chosen:
            truth, labels = study.store.labels(image_id), postprocess(maps, scores.channels, steps)
            if has_classes:
                truth, labels = study.store.classes(image_id)[truth], class_map(maps, scores.channels)
            examples[image_id] = (study.store.image(image_id), truth, labels)
    draw_examples(path, [examples[i] for i in chosen], scores.classes if has_classes else [])


def hardware() -> str:
    """Return the name of the GPU, or the number of cores in use and the name of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    processor = names[0] if names else platform.machine()
    return f"{torch.get_num_threads()} of {os.cpu_count()} cores of {processor}"


def page_text(page: Page) -> str:
    """Return the whole page."""
    paper, rows = page.paper, page.rows
    minutes = sum(row.seconds for row in rows if row.log) / 60
    made = (
        f"Commit `{page.commit}`, seed {page.seed}, budget `{page.budget}`: {minutes:.0f} minutes of "
        f"training and predicting, on {page.hardware}. Ours are held-out figures: {page.held_out}, "
        f"{rows[0].images} images that the networks did not see. {paper.protocol.strip()}"
    )
    paragraphs = [
        f"# {paper.title}",
        paper.about.strip(),
        f"```\n{page.command}\n```",
        made,
        systems_table(paper.columns, [*rows, *page.otsu], paper.main, page.floor),
        *([f"{SILENT} {SILENT_MEANS}"] if any(row.silent(paper.main, page.floor) for row in rows) else []),
        "\n".join(f"- **{row.title}**: {difference(paper.main, row)}" for row in rows),
        *([paper.below_otsu.strip()] if any(row.ours[paper.main] < page.floor for row in rows) else []),
        *(part for row in rows if len(row.class_scores) > 2 for part in class_table(row)),
    ]
    if paper.search and page.draws:
        table = search_table(page.draws, paper.search.measure)
        paragraphs += ["## The search", paper.search.about.strip(), table]
    paragraphs += [
        "## How the paper was read",
        paper.notes.strip(),
        "## Loss",
        f"![Loss by epoch]({paper.name}_curves.png)",
        "## Examples",
        f"By {page.examples_by}; held-out images at the 80th and at the 20th percentile of its mAP.",
        f"![Image, truth and prediction]({paper.name}_examples.jpg)\n",
    ]
    return "\n\n".join(paragraphs)


def systems_table(columns: Sequence[str], rows: Sequence[Row], main: str, floor: float) -> str:
    """Return the table of systems: the paper's figures and ours, and the submissions for the test images.

    Systems that say nothing, by the column ``main`` and the ``floor`` in it, are marked.
    """
    titles = [f"{row.title} {SILENT}" if row.silent(main, floor) else row.title for row in rows]
    table: dict[str, list[str]] = {"system": titles}
    if any(row.test is not None for row in rows):
        table["test images, theirs"] = [_figure(row.test) for row in rows]
    if any(row.submission for row in rows):
        links = [f"[CSV](../../{row.submission})" if row.submission else "–" for row in rows]
        table["our submission"] = links
    for column in columns:
        if any(column in row.theirs for row in rows):
            table[f"{column}, theirs"] = [_figure(row.theirs.get(column)) for row in rows]
        table[f"{column}, ours"] = [_figure(row.ours.get(column)) for row in rows]
    table["trained"] = [f"{row.share:.1%} of theirs" if row.share else "–" for row in rows]
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
