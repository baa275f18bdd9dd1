"""A report's table in Markdown: their figures, ours, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHORT = 0.1
"""A run with less than this share of a report's own training says nothing about its system."""


@dataclass
class System:
    """One row of the table.

    Attributes:
        title: what is trained.
        theirs: the report's figures, by column.
        test: the report's figure on the competition's test images, or None.
        ours: our scores, by column.
        images: how many held-out images they are on.
        share: of the report's own training, in crops seen; 0 where nothing is trained.
        seconds: of training and predicting.
        submission: path of the CSV for the test images, or None.
        by_class: scores of each class of pixels; empty without classes.
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
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    log: Path | None = None


@dataclass(frozen=True)
class Made:
    """How the figures came to be.

    Attributes:
        command: as it was typed.
        commit: of the code.
        seed: of everything random.
        budget: name of the schedule.
        hardware: that it ran on.
        folds: that were held out.
    """

    command: str
    commit: str
    seed: int
    budget: str
    hardware: str
    folds: str


def text(
    paper: Any,
    made: Made,
    systems: Mapping[str, System],
    floor: Sequence[System],
    draws: Mapping[str, Mapping[float, float]],
    best: str,
) -> str:
    """The whole page.

    Args:
        paper: the report's config, ``configs/paper``.
        made: how the figures came to be.
        systems: what was trained, by its name in the config.
        floor: what any system must beat.
        draws: for each system of a search its score by learning rate.
        best: title of the system that made the examples.
    """
    rows = list(systems.values())
    minutes = sum(s.seconds for s in rows if s.log) / 60
    lines = [f"# {paper.title}", "", paper.about.strip(), "", "```", made.command, "```", ""]
    lines += [
        f"Commit `{made.commit}`, seed {made.seed}, budget `{made.budget}`: {minutes:.0f} minutes of "
        f"training and predicting, on {made.hardware}. Ours are held-out figures: {made.folds}, "
        f"{rows[0].images} images that the networks did not see. {paper.protocol.strip()}",
        "",
        *table(list(paper.columns), [*rows, *floor]),
        "",
        *differences(paper.main, rows),
        *classes(rows),
    ]
    if draws:
        by_title = {systems[name].title: found for name, found in draws.items()}
        lines += ["", "## The search", "", paper.search.about.strip(), ""]
        lines += search(by_title, paper.search.measure)
    lines += ["", "## How the report was read", "", paper.notes.strip(), ""]
    lines += ["## Loss", "", f"![Loss by epoch]({paper.name}_curves.png)", "", "## Examples", ""]
    lines += [f"By {best}; held-out images at the 80th and at the 20th percentile of its mAP.", ""]
    return "\n".join([*lines, f"![Image, truth and prediction]({paper.name}_examples.jpg)", ""])


def table(columns: Sequence[str], systems: Sequence[System]) -> list[str]:
    """The table: theirs and ours by column; the test images' figure and submission where there are some."""
    given = [c for c in columns if any(c in s.theirs for s in systems)]
    both = [(c, who) for c in columns for who in ("theirs", "ours") if who == "ours" or c in given]
    head = ["system", *(f"{c}, {who}" for c, who in both), "trained", "time"]
    tested, submitted = any(s.test is not None for s in systems), any(s.submission for s in systems)
    head[1:1] = ["test images, theirs"] * tested + ["our submission"] * submitted
    lines = [_row(head), "|---" * len(head) + "|"]
    for s in systems:
        cells = [s.title]
        cells += [_figure(s.test)] * tested
        cells += [f"[CSV](../../{s.submission})" if s.submission else "–"] * submitted
        cells += [_figure((s.ours if who == "ours" else s.theirs).get(c)) for c, who in both]
        trained = f"{s.share:.1%} of theirs" if s.share else "–"
        lines.append(_row([*cells, trained, f"{s.seconds:.0f} s"]))
    return lines


def differences(column: str, systems: Sequence[System]) -> list[str]:
    """A sentence for each system: how far ours is from theirs on ``column``, and if that says anything."""
    return [f"- **{s.title}**: {_difference(column, s)}" for s in systems]


def _difference(column: str, s: System) -> str:
    if s.theirs and column not in s.theirs and s.test is None:
        column = list(s.theirs)[-1]
    ours, theirs, where = s.ours[column], s.theirs.get(column), "on their own split"
    if theirs is None:
        theirs, where = s.test, "on the 65 test images"
    said = f"{column} {ours:.3f} on {s.images} held-out images"
    if theirs is None:
        said += "; they give no figure"
    else:
        gap = ours - theirs
        how = "the same" if abs(gap) < 0.0005 else f"{abs(gap):.3f} {'higher' if gap > 0 else 'lower'}"
        said += f", {how} {'as' if how == 'the same' else 'than'} their {theirs:g} {where}"
    if 0 < s.share < SHORT:
        return f"{said}. Trained for {s.share:.1%} of their schedule: too short to say anything about it."
    return f"{said}{f', after {s.share:.0%} of their training' if s.share else ''}."


def classes(systems: Sequence[System]) -> list[str]:
    """Precision, recall, F1 and IoU of each class, for the systems that tell classes apart."""
    lines: list[str] = []
    for s in systems:
        if len(s.by_class) > 2:
            names = list(next(iter(s.by_class.values())))
            lines += ["", f"{s.title}, pixels by class:", "", _row(["class", *names])]
            lines.append("|---" * (len(names) + 1) + "|")
            lines += [_row([c, *(_figure(v[n]) for n in names)]) for c, v in s.by_class.items()]
    return lines


def search(draws: Mapping[str, Mapping[float, float]], measure: str) -> list[str]:
    """The learning rates that were drawn, and each system's score with them."""
    rates = sorted({rate for found in draws.values() for rate in found})
    lines = [_row(["learning rate", *(f"{title}, {measure}" for title in draws)])]
    lines.append("|---" * (len(draws) + 1) + "|")
    return lines + [
        _row([f"{rate:.2e}", *(_figure(found[rate]) for found in draws.values())]) for rate in rates
    ]


def _figure(value: float | None) -> str:
    return (
        "–" if value is None or value != value else f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.4f}"
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
