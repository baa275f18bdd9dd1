"""Out-of-fold maps: read with every byte checked, merged strictly over the folds of a run, and scored.

A setting is scored on images: their maps are blended, post-processed and compared with the truth; each score
is computed once.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from nuclei.data.folds import FoldRow
from nuclei.data.store import ZIP_ERRORS, Store
from nuclei.ensemble.ensemble_file import Score
from nuclei.errors import UserError
from nuclei.labelmap.flooding import weighted_mean
from nuclei.metrics import confusion, precisions
from nuclei.paths import FoldFolder, Paths, RunName, train_command
from nuclei.postprocess.pipeline import Step, postprocess, with_parameters
from nuclei.progress import parallel_map, track

HEADER = ("channels", "folds_sha256", "store_sha256")
"""Entries of ``oof.npz`` that are not images."""
SEPARATING = {"nucleus", "border", "distance"}
"""Maps that separate touching nuclei: a run without them is not averaged with runs that have them."""


class OofFile:
    """One fold's ``oof.npz``, open for reading; a damaged one is refused with the command to make it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (*ZIP_ERRORS, OSError) as e:
            raise self.error("is damaged") from e
        names = [name.removesuffix(".npy") for name in self._zip.namelist()]
        self.ids = [name for name in names if name not in HEADER]
        self.channels = tuple(str(name) for name in self.read("channels"))
        self.folds_sha256, self.store_sha256 = (str(self.read(name)) for name in HEADER[1:])

    def __enter__(self) -> OofFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> np.ndarray:
        """Read one array; its CRC-32 is checked before its bytes are used."""
        try:
            return np.lib.format.read_array(io.BytesIO(self._zip.read(f"{name}.npy")))
        except (*ZIP_ERRORS, OSError) as e:
            raise self.error(f"is damaged at {name}") from e

    def maps(self, image_id: str, shape: tuple[int, ...]) -> np.ndarray:
        """Read the uint8 maps of an image, which must have ``shape``."""
        maps = self.read(image_id)
        if maps.dtype != np.uint8 or maps.shape != shape:
            raise self.error(f"has {maps.dtype} {maps.shape} maps of {image_id} instead of uint8 {shape}")
        return maps

    def error(self, problem: str, remove: str = "") -> UserError:
        """Return the error to raise; it names the files to remove and the command that makes them anew."""
        folder = FoldFolder(self.path.parent)
        files = remove or f"{self.path} {folder.result}"
        return UserError(f"{self.path} {problem}; make it anew: rm {files}; {folder.train_command()}")


@dataclass(frozen=True)
class Member:
    """The out-of-fold maps of the run ``MODEL/NAME``, which stay in their files until they are read.

    For each ImageId there are the ``oof.npz`` that holds its maps, and the image's (height, width).
    """

    name: str
    channels: tuple[str, ...]
    files: dict[str, Path]
    shapes: dict[str, tuple[int, int]]

    def maps(self, image_ids: Sequence[str], channels: Sequence[str]) -> list[np.ndarray]:
        """Read the named channels of images: uint8 (C, H, W) each, in the order of ``image_ids``.

        Damaged files are refused, and so are maps of another dtype or size than their images.
        """
        maps: dict[str, np.ndarray] = {}
        indices = [self.channels.index(name) for name in channels]
        for path in sorted({self.files[i] for i in image_ids}):
            with OofFile(path) as oof:
                for i in image_ids:
                    if self.files[i] == path:
                        maps[i] = oof.maps(i, (len(self.channels), *self.shapes[i]))[indices]
        return [maps[i] for i in image_ids]


def load_oof(run: Path, rows: Sequence[FoldRow], sha256: str, store_sha256: str | None = None) -> Member:
    """Merge the folds of the run folder ``runs/<data>/<model>/<name>``.

    The run must be of the folds file in use, whose hash is ``sha256``, and of the store in use; a
    ``store_sha256`` of None does not compare the latter.

    Raises:
        UserError: a fold is missing, or was trained on another folds file or store; an image is missing,
            doubled, not in the folds file, or in the file of a fold that trained on it; the channels differ
            between folds; a file is damaged.
    """
    paths = _complete(run, sorted({row.fold for row in rows}))
    files: dict[str, Path] = {}
    channels: dict[tuple[str, ...], Path] = {}
    for fold, path in paths.items():
        with OofFile(path) as oof:
            if oof.folds_sha256 != sha256:
                raise oof.error("was made with another folds file", f"-r {path.parent}")
            if store_sha256 not in (None, oof.store_sha256):
                raise oof.error("was made with other images or annotations", f"-r {path.parent}")
            _check_images(oof, {row.image_id for row in rows if row.fold == fold})
            files |= dict.fromkeys(oof.ids, path)
            channels[oof.channels] = path
    if len(channels) > 1:
        differing = "; ".join(f"{', '.join(names)} in {path}" for names, path in channels.items())
        raise UserError(f"the folds of {run} have different channels: {differing}")
    shapes = {row.image_id: (row.height, row.width) for row in rows}
    return Member(str(RunName(*run.parts[-2:])), next(iter(channels)), files, shapes)


def _complete(run: Path, folds: Sequence[int]) -> dict[int, Path]:
    """Return each fold's file; refuse a run that lacks one."""
    if not run.is_dir():
        raise UserError(f"no run at {run}; run {train_command(run, folds)}")
    paths = {fold: FoldFolder(run / f"fold{fold}").maps for fold in folds}
    missing = [fold for fold, path in paths.items() if not path.is_file()]
    if missing:
        named = ", ".join(map(str, missing))
        raise UserError(
            f"{run} lacks the out-of-fold maps of fold {named}; run {train_command(run, missing)}"
        )
    return paths


def _check_images(oof: OofFile, expected: set[str]) -> None:
    """Refuse a file that does not hold exactly the images of its fold."""
    wrong = {
        "lacks": expected - set(oof.ids),
        "has two of": {i for i in oof.ids if oof.ids.count(i) > 1},
        "should not hold": set(oof.ids) - expected,
    }
    for what, ids in wrong.items():
        if ids:
            raise oof.error(f"{what} {min(ids)}" + f" and {len(ids) - 1} other images" * (len(ids) > 1))


def find_members(
    root: Path,
    names: Sequence[str] | None,
    rows: Sequence[FoldRow],
    sha256: str,
    store_sha256: str | None = None,
) -> tuple[list[Member], list[Member]]:
    """Load the named runs, or all that have every fold of these data; others are said.

    Args:
        root: ``runs/<data>``.
        names: ``MODEL/NAME`` of each run; None for all complete ones.

    Returns:
        The members, and the complete runs that are left out because they lack maps that separate touching
        nuclei; with ``names`` none is left out. For the rest see ``load_oof``.

    Raises:
        UserError: there are no such runs, or ``load_oof`` refuses one.
    """
    if names is not None:
        malformed = [name for name in names if name.count("/") != 1 or list(names).count(name) > 1]
        if malformed or not names:
            raise UserError(
                f"runs: expected MODEL/NAME of different runs, as in [unet/default], got {list(names)}"
            )
        return [load_oof(root / name, rows, sha256, store_sha256) for name in names], []
    folds = {row.fold for row in rows}
    runs = {
        run: {fold for fold in folds if FoldFolder(run / f"fold{fold}").maps.is_file()}
        for run in sorted(root.glob("*/*"))
    }
    complete = []
    for run, trained in runs.items():
        if trained >= folds and _is_of_data(run, folds, sha256, store_sha256):
            complete.append(load_oof(run, rows, sha256, store_sha256))
        elif trained >= folds:
            print(f"not in the ensemble, for it is of other folds or images: {RunName(*run.parts[-2:])}")
    if not complete:
        fullest = max(runs, key=lambda run: len(runs[run]), default=root / "unet" / "default")
        # Raises the error that names what is lacking.
        return [load_oof(fullest, rows, sha256, store_sha256)], []
    counts = {member.name: len(SEPARATING.intersection(member.channels)) for member in complete}
    most = max(counts.values())
    return [m for m in complete if counts[m.name] == most], [m for m in complete if counts[m.name] < most]


def _is_of_data(run: Path, folds: Iterable[int], sha256: str, store_sha256: str | None) -> bool:
    """Return whether a fold of a run is of this folds file and store; ``load_oof`` refuses a mixture."""
    for fold in folds:
        with OofFile(FoldFolder(run / f"fold{fold}").maps) as oof:
            if oof.folds_sha256 == sha256 and store_sha256 in (None, oof.store_sha256):
                return True
    return False


def check_same_images(image_ids: Iterable[str], rows: Sequence[FoldRow], paths: Paths) -> None:
    """Refuse a folds file that was made for another store, which has the training images ``image_ids``."""
    different = set(image_ids) ^ {row.image_id for row in rows}
    if different:
        raise UserError(
            f"{paths.folds} and {paths.store} differ by {len(different)} training images, "
            f"{min(different)} among them; run ./run.sh folds force=true data={paths.data}, then train"
        )


def describe_members(members: Sequence[Member], others: Sequence[Member], channels: Sequence[str]) -> str:
    """Return lines to print: the members, the channels, and what is left out."""
    names = ", ".join(member.name for member in members)
    lines = [f"ensemble of {names}; channels {', '.join(channels)}"]
    if dropped := sorted({name for member in members for name in member.channels} - set(channels)):
        lines.append(f"not in all runs, so left out: the channels {', '.join(dropped)}")
    for run in others:
        lines.append(f"not in the ensemble, for it has fewer maps: {run.name} ({', '.join(run.channels)})")
    return "\n".join(lines)


@dataclass(frozen=True)
class Setting:
    """A value for everything that is tuned; equal settings give equal scores.

    The weights of the members are on the simplex; the parameters, pairs of a name and a value, are those of
    the post-processing that differ from the config's steps.
    """

    weights: tuple[float, ...]
    parameters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Case:
    """An image to score on: uint8 (members, C, H, W) maps, and the integer (H, W) truth."""

    maps: np.ndarray
    truth: np.ndarray

    def middle(self, size: int) -> Case:
        """Return the middle, at most ``size`` by ``size`` pixels; it scores nearly like the whole."""
        top, left = (max(0, (n - size) // 2) for n in self.truth.shape)
        window = (..., slice(top, top + size), slice(left, left + size))
        return Case(np.ascontiguousarray(self.maps[window]), np.ascontiguousarray(self.truth[window]))


class Evaluator:
    """Scores settings on cases, and keeps the precision of each setting on each case.

    A setting's parameters replace fields of the steps. The threads, ``workers`` of them, share the maps;
    OpenCV, NumPy and the watershed release the interpreter while they work.
    """

    def __init__(
        self, cases: Sequence[Case], channels: Sequence[str], steps: Sequence[Step], workers: int = 1
    ) -> None:
        self.cases, self.channels = list(cases), tuple(channels)
        self.steps, self.workers = list(steps), workers
        self._precisions: dict[Setting, np.ndarray] = {}

    def precision(self, setting: Setting, images: Iterable[int]) -> np.ndarray:
        """Return the precision at the ten thresholds, float64 (images, 10); known ones are reused."""
        table = self._precisions.setdefault(setting, np.full((len(self.cases), 10), np.nan))
        wanted = np.fromiter(images, int)
        missing = wanted[np.isnan(table[wanted, 0])]
        steps = with_parameters(self.steps, dict(setting.parameters))
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(self.workers) as pool:
            computed = list(pool.map(lambda i: self._compute(self.cases[i], setting.weights, steps), missing))
        table[missing] = np.reshape(computed, (-1, 10))
        return table[wanted]

    def _compute(self, case: Case, weights: Sequence[float], steps: Sequence[Step]) -> np.ndarray:
        labels = postprocess(blend(case.maps, weights), self.channels, steps)
        return precisions(case.truth, labels)

    def score(self, setting: Setting, images: Iterable[int]) -> float:
        """Return the mean average precision over ``images``."""
        return float(self.precision(setting, images).mean())


def blend(maps: Sequence[np.ndarray] | np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Average the maps that several members give for one image.

    Args:
        maps: (C, H, W) of each member, the same channels in the same order; all uint8, or all float in 0..1.
            One uint8 array (members, C, H, W) is quickest.
        weights: one for each member, 0 or more, with sum 1; members of weight 0 are not touched.

    Returns:
        (C, H, W): uint8 from uint8 maps, rounded to the nearest (halves to the even number); else float32,
        cut at 1 so that rounding errors do not leave 0..1.

    Raises:
        ValueError: numbers, shapes or dtypes do not go together, or the weights are not on the simplex.

    >>> blend([np.array([[[0, 200]]], np.uint8), np.array([[[100, 100]]], np.uint8)], [0.25, 0.75])
    array([[[ 75, 125]]], dtype=uint8)
    """
    if len(maps) != len(weights) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"expected {len(maps)} weights of 0 or more with sum 1, got {list(weights)}")
    if len({(m.shape, m.dtype == np.uint8) for m in maps}) != 1:
        raise ValueError(f"expected maps of one shape and dtype, got {[(m.shape, m.dtype) for m in maps]}")
    if maps[0].dtype == np.uint8:
        flat = np.asarray(maps).reshape(len(maps), -1)
        return weighted_mean(flat, np.array(weights, np.float32)).reshape(maps[0].shape)
    total = np.zeros(maps[0].shape, np.float32)
    for m, weight in zip(maps, weights, strict=True):
        if weight > 0:
            total += np.multiply(m, np.float32(weight), dtype=np.float32)
    return np.minimum(total, 1)


def shared_channels(channels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names that all members have, in the first's order; refuse members that share no nuclei."""
    shared = tuple(name for name in channels[0] if all(name in other for other in channels))
    if not {"nucleus", "background"} & set(shared):
        raise UserError(
            f"no channel nucleus in all runs; they have {'; '.join(', '.join(c) for c in channels)}"
        )
    return shared


def load_cases(
    members: Sequence[Member], channels: Sequence[str], store: Store, rows: Sequence[FoldRow]
) -> list[Case]:
    """Read the maps of all members and the truth, in the order of ``rows``."""
    ids = [row.image_id for row in rows]
    maps = [np.empty((len(members), len(channels), row.height, row.width), np.uint8) for row in rows]
    for k, member in enumerate(track(members, "read maps")):
        for stack, member_maps in zip(maps, member.maps(ids, channels), strict=True):
            stack[k] = member_maps
    truth = [store.labels(image_id).astype(np.uint16) for image_id in ids]
    return [Case(*case) for case in zip(maps, truth, strict=True)]


def score_untuned(name: str, setting: str, evaluator: Evaluator) -> Score:
    """Score a single run as it is, with post-processing that needs no tuning."""
    return Score(name, setting, evaluator.precision(Setting((1.0,)), range(len(evaluator.cases))))


def count_matches(
    member: Member, store: Store, rows: Sequence[FoldRow], steps: Sequence[Step], workers: int
) -> dict[str, np.ndarray]:
    """Return ``nuclei.metrics.confusion`` of each image of a run's out-of-fold maps, by several processes."""
    ids = [row.image_id for row in rows]
    counts = parallel_map(partial(_count_image, store, member, steps), ids, workers, chunksize=8)
    return dict(zip(ids, track(counts, "score", len(ids)), strict=True))


def _count_image(store: Store, member: Member, steps: Sequence[Step], image_id: str) -> np.ndarray:
    (maps,) = member.maps([image_id], member.channels)
    return confusion(store.labels(image_id), postprocess(maps, member.channels, steps))
