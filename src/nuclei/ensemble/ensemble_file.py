"""The ensemble folder: ``ensemble.yaml`` with all that a submission needs, and ``scores.csv``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nuclei.atomic import atomic_write
from nuclei.errors import UserError

COLUMNS = ("scored", "setting", "modality", "images", "ap50", "ap75", "ap90", "map")
KEYS = {"data", "folds_sha256", "n_folds", "channels", "members", "steps", "score"}


@dataclass(frozen=True)
class Scored:
    """One row of the table of scores.

    Attributes:
        name: of the run, or ``ensemble``.
        setting: ``nested``, ``tuned on all`` or ``default``.
        precision: float64 (images, 10), at the metric's thresholds.
    """

    name: str
    setting: str
    precision: np.ndarray


def write_ensemble(folder: Path, ensemble: dict[str, Any]) -> Path:
    """Write ``ensemble.yaml``, whole, and return its path.

    Args:
        folder: ``ensembles/<data>/<name>``.
        ensemble: ``KEYS``; members are dicts of ``run`` and ``weight``, the steps have a ``_target_`` each.
    """
    if ensemble.keys() != KEYS:
        raise ValueError(f"expected {sorted(KEYS)}, got {sorted(ensemble)}")
    with atomic_write(folder / "ensemble.yaml") as part:
        part.write_text(yaml.safe_dump(ensemble, sort_keys=False))
    return folder / "ensemble.yaml"


def read_ensemble(folder: Path) -> dict[str, Any]:
    """Read what ``write_ensemble`` wrote.

    Raises:
        UserError: there is none, or it is not of this form.
    """
    path = folder / "ensemble.yaml"
    command = f"./run.sh ensemble data={folder.parent.name} name={folder.name}"
    if not path.is_file():
        raise UserError(f"no ensemble at {path}; run {command}")
    try:
        ensemble = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        ensemble = None
    if not isinstance(ensemble, dict) or ensemble.keys() != KEYS:
        raise UserError(f"{path} is not an ensemble's file; run {command}")
    return ensemble


def check_maps(ensemble: dict[str, Any], name: str, run: Path | str, channels: Sequence[str]) -> None:
    """Refuse a member that was trained anew with other maps than ensemble ``name`` averages.

    Raises:
        UserError: it lacks one.
    """
    if set(ensemble["channels"]) - set(channels):
        raise UserError(f"{run} has other maps than ensemble {name}; run ./run.sh ensemble again")


def by_modality(modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Return bool (images,) for ``all`` and for each modality."""
    names = np.asarray(modalities)
    return {"all": np.ones(len(names), bool)} | {name: names == name for name in sorted(set(modalities))}


def write_scores(path: Path, scored: Sequence[Scored], modalities: Sequence[str]) -> None:
    """Write ``scores.csv``, whole: a row for each of ``scored``, over all images and for each modality."""
    with atomic_write(path) as part, open(part, "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in scored:
            for modality, images in by_modality(modalities).items():
                at = row.precision[images].mean(axis=0)
                figures = [f"{x:.4f}" for x in (at[0], at[5], at[8], at.mean())]
                table.writerow([row.name, row.setting, modality, int(images.sum()), *figures])


def lines(scored: Sequence[Scored], modalities: Sequence[str]) -> list[str]:
    """Lay the scores out as lines to print: precision at three thresholds, and the mean for each modality.

    >>> print(*lines([Scored("unet/default", "nested", np.ones((2, 10)))], ["grey", "grey"]), sep="\\n")
    scored        setting          0.50   0.75   0.90    mAP   grey
    unet/default  nested          1.000  1.000  1.000  1.000  1.000
    """
    groups = by_modality(modalities)
    del groups["all"]
    width = max(len(row.name) for row in scored)
    heads = ["0.50", "0.75", "0.90", "mAP", *groups]
    table = [f"{'scored':<{width}}  {'setting':<12}" + "".join(f"  {head:>5}" for head in heads)]
    for row in scored:
        at = row.precision.mean(axis=0)
        figures = [
            at[0],
            at[5],
            at[8],
            at.mean(),
            *(row.precision[images].mean() for images in groups.values()),
        ]
        cells = "".join(f"  {x:>{max(5, len(head))}.3f}" for x, head in zip(figures, heads, strict=True))
        table.append(f"{row.name:<{width}}  {row.setting:<12}{cells}")
    return table
