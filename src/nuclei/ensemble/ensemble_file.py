"""The files of an ensemble: ``ensemble.yaml`` with all that a submission needs, and ``scores.csv``."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tabulate import tabulate

from nuclei.atomic import atomic_write
from nuclei.errors import UserError
from nuclei.paths import RunName

SCORE = ("nested", "tuned_on_all")
SCORE_COLUMNS = ("scored", "setting", "modality", "images", "ap50", "ap75", "ap90", "map")


@dataclass(frozen=True)
class WeightedRun:
    """A member of an ensemble and the weight of its maps."""

    run: RunName
    weight: float


@dataclass(frozen=True)
class EnsembleFile:
    """What ``ensemble.yaml`` holds: runs on folds of one data set, whose maps ``channels`` are averaged.

    Attributes:
        members: runs and weights; the weights sum to 1.
        steps: settings of the post-processing, from which its steps are built.
        nested: mean average precision of each fold, tuned on the others.
        tuned_on_all: mean average precision of all images, tuned on these.
    """

    data: str
    folds_sha256: str
    n_folds: int
    channels: tuple[str, ...]
    members: tuple[WeightedRun, ...]
    steps: tuple[Mapping[str, Any], ...]
    nested: float
    tuned_on_all: float

    def check_folds(self, place: Path, sha256: str) -> None:
        """Raise a UserError that names ``place`` if its folds file, of this hash, is not the ensemble's."""
        if sha256 != self.folds_sha256:
            raise UserError(
                f"{place} is of other folds than the ensemble was made with; "
                f"run ./run.sh ensemble data={self.data} again"
            )

    @property
    def weighted(self) -> tuple[WeightedRun, ...]:
        """The members with a weight above 0."""
        return tuple(member for member in self.members if member.weight > 0)

    def check_channels(self, member: object, channels: Iterable[str]) -> None:
        """Raise a UserError if a member, trained again, has ``channels`` that lack one of the ensemble's."""
        if set(self.channels) - set(channels):
            raise UserError(
                f"{member} has other maps than the ensemble averages; run ./run.sh ensemble again"
            )

    def to_yaml(self) -> str:
        """Return the text of the file, which ends in the hash of what stands before."""
        content: dict[str, Any] = vars(self) | {
            "channels": list(self.channels),
            "members": [{"run": str(member.run), "weight": member.weight} for member in self.members],
            "steps": [dict(step) for step in self.steps],
        }
        content["score"] = {name: content.pop(name) for name in SCORE}
        return _sealed(yaml.dump(content, Dumper=_Dumper, sort_keys=False))


class _Dumper(yaml.CSafeDumper):
    """Writes text of many lines, as the trees are, as it stands."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _sealed(text: str) -> str:
    return f"{text}sha256: {hashlib.sha256(text.encode()).hexdigest()}\n"


def write_ensemble(path: Path, ensemble: EnsembleFile) -> None:
    """Write ``ensemble.yaml``, whole."""
    with atomic_write(path) as part:
        part.write_text(ensemble.to_yaml())


def read_ensemble(path: Path) -> EnsembleFile:
    """Read what ``write_ensemble`` wrote; refuse a file that is missing, damaged, or not of this form."""
    command = f"./run.sh ensemble data={path.parent.parent.name} name={path.parent.name}"
    if not path.is_file():
        raise UserError(f"no ensemble at {path}; run {command}")
    try:
        text = path.read_bytes().decode()
        body = text.rpartition("sha256: ")[0]
        if text != _sealed(body):
            raise ValueError
        tree = yaml.load(body, Loader=yaml.CSafeLoader)  # in C: the trees are half a megabyte
        members = (WeightedRun(RunName.parse(m["run"]), float(m["weight"])) for m in tree["members"])
        lists = {name: tuple(tree[name]) for name in ("channels", "steps")} | {"members": tuple(members)}
        score = tree.pop("score")
        return EnsembleFile(**tree | lists | {name: score[name] for name in SCORE})
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError, UserError) as e:
        raise UserError(f"{path} is no ensemble file, or damaged, or changed by hand; run {command}") from e


@dataclass(frozen=True)
class Score:
    """One row of the table of scores: of a run or the ``ensemble``, under a setting such as ``nested``.

    The precision at the metric's thresholds is float64 (images, 10).
    """

    name: str
    setting: str
    precision: np.ndarray


def _by_modality(modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Return bool (images,) for ``all`` and for each modality."""
    names = np.asarray(modalities)
    return {"all": np.ones(len(names), bool)} | {name: names == name for name in sorted(set(modalities))}


def write_scores(path: Path, scores: Sequence[Score], modalities: Sequence[str]) -> None:
    """Write ``scores.csv``, whole: a row for each score, over all images and for each modality."""
    with atomic_write(path) as part, open(part, "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(SCORE_COLUMNS)
        for score in scores:
            for modality, images in _by_modality(modalities).items():
                at = score.precision[images].mean(axis=0)
                figures = [f"{x:.4f}" for x in (at[0], at[5], at[8], at.mean())]
                table.writerow([score.name, score.setting, modality, int(images.sum()), *figures])


def score_table(scores: Sequence[Score], modalities: Sequence[str]) -> str:
    """Return a table to print: precision at three thresholds, their mean, and the mean by modality.

    >>> print(score_table([Score("unet/default", "nested", np.ones((2, 10)))], ["grey", "grey"]))
    scored        setting      0.50    0.75    0.90    mAP    grey
    unet/default  nested      1.000   1.000   1.000  1.000   1.000
    """
    groups = _by_modality(modalities)
    del groups["all"]
    rows = []
    for score in scores:
        at = score.precision.mean(axis=0)
        by_group = [score.precision[images].mean() for images in groups.values()]
        rows.append([score.name, score.setting, at[0], at[5], at[8], at.mean(), *by_group])
    heads = ["scored", "setting", "0.50", "0.75", "0.90", "mAP", *groups]
    return tabulate(rows, heads, tablefmt="plain", floatfmt=".3f")
