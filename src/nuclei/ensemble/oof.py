"""Out-of-fold maps: the folds of a run merged strictly, each image exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.data.folds import FoldRow
from nuclei.ensemble.oof_file import OofFile, fold_of, train_command
from nuclei.errors import UserError
from nuclei.paths import RunName

SEPARATING = {"nucleus", "border", "distance"}
"""Maps that a blend should not lose for the sake of a run that lacks them."""


@dataclass(frozen=True)
class Member:
    """The out-of-fold maps of one run; they stay in their files until asked for.

    Attributes:
        name: of the run, ``MODEL/NAME``.
        channels: names of the maps.
        files: for each ImageId the ``oof.npz`` that holds it.
        shapes: for each ImageId its (height, width).
    """

    name: str
    channels: tuple[str, ...]
    files: dict[str, Path]
    shapes: dict[str, tuple[int, int]]

    def maps(self, image_ids: Sequence[str], channels: Sequence[str]) -> list[np.ndarray]:
        """Read the named channels of images: uint8 (C, H, W) each, in the order asked for.

        Raises:
            UserError: a file is damaged, or its maps have another dtype or size than their images.
        """
        found: dict[str, np.ndarray] = {}
        at = [self.channels.index(name) for name in channels]
        for path in sorted({self.files[i] for i in image_ids}):
            with OofFile(path) as oof:
                for i in image_ids:
                    if self.files[i] == path:
                        found[i] = oof.maps(i, (len(self.channels), *self.shapes[i]))[at]
        return [found[i] for i in image_ids]


def load_oof(run: Path, rows: Sequence[FoldRow], sha256: str) -> Member:
    """Merge the folds of the run folder ``runs/<data>/<model>/<name>``.

    Args:
        run: the folder that holds ``fold0``, ``fold1`` …
        rows: the folds file in use, as ``nuclei.data.folds.read_folds`` gives it.
        sha256: its hash.

    Raises:
        UserError: a fold is missing or was trained on another folds file; an image is missing, doubled, not
            in the folds file, or in the file of a fold that trained on it; the channels differ between
            folds; a file is damaged.
    """
    paths = _complete(run, sorted({row.fold for row in rows}))
    files: dict[str, Path] = {}
    channels: dict[tuple[str, ...], Path] = {}
    for fold, path in paths.items():
        with OofFile(path) as oof:
            if oof.folds_sha256 != sha256:
                raise oof.bad("was made with another folds file", f"-r {path.parent}")
            _check_images(oof, {row.image_id for row in rows if row.fold == fold})
            files |= dict.fromkeys(oof.ids, path)
            channels[oof.channels] = path
    if len(channels) > 1:
        differing = "; ".join(f"{', '.join(names)} in {path}" for names, path in channels.items())
        raise UserError(f"the folds of {run} have different channels: {differing}")
    shapes = {row.image_id: (row.height, row.width) for row in rows}
    return Member(str(RunName(*run.parts[-2:])), next(iter(channels)), files, shapes)


def _complete(run: Path, folds: Sequence[int]) -> dict[int, Path]:
    """Find each fold's file, or say which lack and how to train them."""
    if not run.is_dir():
        raise UserError(f"no run at {run}; run {train_command(run, folds)}")
    paths = {fold: run / f"fold{fold}" / "oof.npz" for fold in folds}
    missing = [fold for fold, path in paths.items() if not path.is_file()]
    if missing:
        named = ", ".join(str(fold) for fold in missing)
        raise UserError(
            f"{run} lacks the out-of-fold maps of fold {named}; run {train_command(run, missing)}"
        )
    return paths


def _check_images(oof: OofFile, expected: set[str]) -> None:
    """Refuse a file that does not hold exactly the images of its fold."""
    doubled = sorted({i for i in oof.ids if oof.ids.count(i) > 1})
    wrong = {
        "lacks": sorted(expected - set(oof.ids)),
        "has two of": doubled,
        "should not hold": sorted(set(oof.ids) - expected),
    }
    for what, ids in wrong.items():
        if ids:
            raise oof.bad(f"{what} {ids[0]}" + (f" and {len(ids) - 1} other images" if len(ids) > 1 else ""))


def find_members(
    root: Path, names: Sequence[str] | None, rows: Sequence[FoldRow], sha256: str
) -> tuple[list[Member], list[Member]]:
    """Load the runs that are asked for, or all that have every fold.

    Args:
        root: ``runs/<data>``.
        names: ``MODEL/NAME`` of each run; None for all complete ones.
        rows, sha256: as for ``load_oof``.

    Returns:
        The members, and the runs left out because they lack maps by which others tell nuclei apart; none of
        these where ``names`` are given.

    Raises:
        UserError: there are no such runs, or whatever ``load_oof`` finds.
    """
    if names is not None:
        wrong = [name for name in names if name.count("/") != 1 or list(names).count(name) > 1]
        if wrong or not names:
            raise UserError(
                f"runs: expected MODEL/NAME of different runs, as in [unet/default], got {list(names)}"
            )
        return [load_oof(root / name, rows, sha256) for name in names], []
    folds = {row.fold for row in rows}
    runs = {
        run: {fold_of(path.parent) for path in run.glob("fold*/oof.npz")} for run in sorted(root.glob("*/*"))
    }
    complete = [load_oof(run, rows, sha256) for run, found in runs.items() if found >= folds]
    if not complete:
        fullest = max(runs, key=lambda run: len(runs[run]), default=root / "unet" / "default")
        return [load_oof(fullest, rows, sha256)], []  # says what it lacks
    counts = {member.name: len(SEPARATING.intersection(member.channels)) for member in complete}
    most = max(counts.values())
    return [m for m in complete if counts[m.name] == most], [m for m in complete if counts[m.name] < most]
