"""Analyse one image: its score, its errors, and what the report's statistics need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nuclei.analysis.error_types import ERROR_TYPES, find_errors, mend
from nuclei.analysis.score_statistics import calibration_counts, crowding, diameters
from nuclei.analysis.suspect_annotations import Suspect, find_suspects
from nuclei.data.folds import FoldRow, folds_sha256
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.evaluate import blend
from nuclei.ensemble.oof import Member, load_oof
from nuclei.metrics import confusion, precision_at
from nuclei.model_loading import build_steps, run_steps
from nuclei.paths import Paths, RunName
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import parallel_map


@dataclass(frozen=True)
class Subject:
    """A run or an ensemble under analysis: averaged out-of-fold maps and their post-processing.

    The weights of its members have the sum 1; ``channels`` are the maps in use, which all members have.
    """

    name: str
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    channels: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def calibrated(self) -> list[str]:
        """The channels whose target is known from a label map."""
        return [name for name in self.channels if name in (*CHANNELS, "background")]

    @property
    def postprocessing(self) -> str:
        """The post-processing steps as text."""
        return "; ".join(str(step) for step in self.steps)

    def member_maps(self, image_id: str) -> list[np.ndarray]:
        """Read the maps of an image, uint8 (C, H, W) for each member."""
        return [member.maps([image_id], self.channels)[0] for member in self.members]

    def labels(self, image_id: str) -> np.ndarray:
        """Return the nuclei of an image, int32 (H, W)."""
        return self.postprocessed(blend(self.member_maps(image_id), self.weights))

    def postprocessed(self, maps: np.ndarray) -> np.ndarray:
        """Return the nuclei in maps, int32 (H, W)."""
        return postprocess(maps, self.channels, self.steps)


def load_subject(
    name: str, is_run: bool, paths: Paths, rows: Sequence[FoldRow], steps: Sequence[Step] | None
) -> Subject:
    """Load a run with its own post-processing or with ``steps``, or an ensemble with the one tuned for it."""
    hashes = folds_sha256(paths.folds), Store(paths.store).sha256
    if is_run:
        run = RunName.parse(name)
        member = load_oof(paths.run(run), rows, *hashes)
        steps = steps or run_steps(paths.fold(run, 0))
        return Subject(name, (member,), (1.0,), member.channels, tuple(steps))
    ensemble = read_ensemble(paths.ensemble(name))
    ensemble.check_folds(paths.folds, hashes[0])
    members = tuple(load_oof(paths.run(member.run), rows, *hashes) for member in ensemble.members)
    for weighted, member in zip(ensemble.members, members, strict=True):
        ensemble.check_channels(paths.run(weighted.run), member.channels)
    weights, tuned = tuple(member.weight for member in ensemble.members), build_steps(ensemble.steps)
    return Subject(f"ensemble {name}", members, weights, ensemble.channels, tuple(tuned))


@dataclass(frozen=True)
class Findings:
    """The analysis of one image.

    Attributes:
        precision: float64 (10,), at the metric's thresholds.
        mended: the same for each error type, with the errors of this type mended.
        counts: number of errors of each type.
        member_precision: float64 (members, 10), of each member alone; no rows where there is only one.
        other_precision: the precision of the subject that is compared with; empty without a comparison.
        nuclei: number of true and of predicted nuclei.
        diameters: float64 (N,), of the true nuclei, in pixels.
        best_iou: float64 (N,), see ``error_types.Errors``.
        calibration: float64 (C, 256, 2), see ``score_statistics.calibration_counts``.
    """

    image_id: str
    precision: np.ndarray
    mended: dict[str, np.ndarray]
    counts: dict[str, int]
    member_precision: np.ndarray
    other_precision: np.ndarray
    nuclei: tuple[int, int]
    diameters: np.ndarray
    best_iou: np.ndarray
    crowding: float
    calibration: np.ndarray
    suspects: list[Suspect]


def analyse_image(store: Store, subject: Subject, other: Subject | None, image_id: str) -> Findings:
    """Post-process the maps of an image, compare the nuclei with the truth, and mend each type of error."""
    truth, member_maps = store.labels(image_id), subject.member_maps(image_id)
    maps = blend(member_maps, subject.weights)
    prediction = subject.postprocessed(maps)
    members = [subject.postprocessed(m) for m in member_maps] if len(member_maps) > 1 else []
    errors = find_errors(truth, prediction)
    channels = subject.calibrated
    return Findings(
        image_id=image_id,
        precision=precision(truth, prediction),
        mended={t: precision(truth, mend(t, errors, truth, prediction)) for t in ERROR_TYPES},
        counts=errors.counts(),
        member_precision=np.array([precision(truth, labels) for labels in members]).reshape(-1, 10),
        other_precision=precision(truth, other.labels(image_id)) if other else np.empty(0),
        nuclei=(int(truth.max(initial=0)), int(prediction.max(initial=0))),
        diameters=diameters(truth),
        best_iou=errors.best_iou,
        crowding=crowding(truth),
        calibration=calibration_counts(maps[[subject.channels.index(c) for c in channels]], channels, truth),
        suspects=find_suspects(image_id, errors, truth, prediction, maps[subject.channels.index("nucleus")]),
    )


def precision(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the precision at the ten thresholds, float64 (10,)."""
    return precision_at(confusion(truth, labels))


def analyse_images(
    store: Store, subject: Subject, other: Subject | None, image_ids: Sequence[str], workers: int
) -> Iterator[Findings]:
    """Yield the findings of each image, in order, from several processes."""
    return parallel_map(partial(analyse_image, store, subject, other), image_ids, workers)
