"""Analyse one image: its score, its errors, annotations that look wrong, what the report's statistics need.

An annotation looks wrong where confident maps contradict it, after Northcutt, Jiang and Chuang, "Confident
Learning" (2021), https://arxiv.org/abs/1911.00068. Here a label is a nucleus, and its suspicion the mean
distance between the nucleus map and the annotation, over the pixels of the nucleus and of the predicted
nucleus paired with it; at 1 the map is sure of the opposite on every pixel. A network that never learnt a
type of nucleus is as sure as one that found a wrong mask, so that the list has to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nuclei.analysis.error_types import ERROR_TYPES, Errors, find_errors, mend
from nuclei.analysis.score_statistics import calibration_counts, crowding, diameters
from nuclei.data.folds import FoldRow, folds_sha256
from nuclei.data.sources.dsb2018 import Dsb2018Item
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.ensemble.ensemble_file import read_ensemble
from nuclei.ensemble.oof import Member, blend, load_oof
from nuclei.metrics import precisions
from nuclei.model_loading import build_steps, run_steps
from nuclei.paths import Paths, RunName
from nuclei.postprocess.pipeline import Step, postprocess
from nuclei.progress import track

SUSPECT_TYPES = {
    "miss": "annotated, but looks like background",
    "false find": "looks like a nucleus, but has no mask",
    "wrong outline": "mask of another extent",
}
"""What is wrong with an annotation, by the type of the error."""


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
class Suspect:
    """One annotation that looks wrong.

    Attributes:
        label: label in the store's label map; 0 where nothing is annotated.
        y, x: centre, in pixels.
        area: area of the annotated and the predicted nucleus together, in pixels.
        suspicion: 0..1.
    """

    image_id: str
    error_type: str
    label: int
    y: int
    x: int
    area: int
    suspicion: float


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
        precision=precisions(truth, prediction),
        mended={t: precisions(truth, mend(t, errors, truth, prediction)) for t in ERROR_TYPES},
        counts=errors.counts(),
        member_precision=np.array([precisions(truth, labels) for labels in members]).reshape(-1, 10),
        other_precision=precisions(truth, other.labels(image_id)) if other else np.empty(0),
        nuclei=(int(truth.max(initial=0)), int(prediction.max(initial=0))),
        diameters=diameters(truth),
        best_iou=errors.best_iou,
        crowding=crowding(truth),
        calibration=calibration_counts(maps[[subject.channels.index(c) for c in channels]], channels, truth),
        suspects=find_suspects(image_id, errors, truth, prediction, maps[subject.channels.index("nucleus")]),
    )


def find_suspects(
    image_id: str, errors: Errors, truth: np.ndarray, prediction: np.ndarray, nucleus: np.ndarray
) -> list[Suspect]:
    """Return the misses, false finds and wrong outlines of an image as suspects.

    Truth and prediction are integers (H, W), the nucleus map is uint8 (H, W).
    """
    pairs = [("miss", t, 0) for t in errors.misses] + [("false find", 0, p) for p in errors.false_finds]
    pairs += [("wrong outline", t, p) for t, p in errors.wrong]
    disagreement = np.where(truth > 0, 255 - nucleus, nucleus) / 255
    true_pixels, predicted_pixels = _pixels(truth), _pixels(prediction)
    suspects = []
    for error_type, t, p in pairs:
        pixels = np.union1d(true_pixels[t] if t else [], predicted_pixels[p] if p else []).astype(int)
        y, x = (int(axis.mean()) for axis in np.unravel_index(pixels, truth.shape))
        suspicion = float(disagreement.ravel()[pixels].mean())
        suspects.append(Suspect(image_id, error_type, t, y, x, len(pixels), suspicion))
    return suspects


def most_suspicious(suspects: Sequence[Suspect], number: int) -> list[Suspect]:
    """Return the most suspicious, at most ``number`` of each error type.

    Suspicions are compared to a tenth, and of equal ones the larger comes first, because specks are many.
    """
    ranked = sorted(suspects, key=lambda s: (-round(s.suspicion, 1), -s.area, s.image_id, s.y, s.x))
    return [s for t in SUSPECT_TYPES for s in [s for s in ranked if s.error_type == t][:number]]


def _pixels(labels: np.ndarray) -> list[np.ndarray]:
    """Return the flat indices of the pixels of each label, from 0 on."""
    flat = labels.ravel()
    return np.split(np.argsort(flat, kind="stable"), np.cumsum(np.bincount(flat))[:-1])


def mask_files(items: Sequence[object], store: Store, suspects: Sequence[Suspect]) -> dict[Suspect, str]:
    """Return the mask file of each annotated suspect, where an item has a file for each nucleus."""
    with_masks = {item.image_id: item for item in items if isinstance(item, Dsb2018Item)}
    return {
        s: mask_file(with_masks[s.image_id], store.labels(s.image_id) == s.label)
        for s in track(suspects, "find mask files")
        if s.label and s.image_id in with_masks
    }


def mask_file(item: Dsb2018Item, nucleus: np.ndarray) -> str:
    """Return the name of the mask file that fits a nucleus, bool (H, W), best."""
    best_iou, name = 0.0, "none of its masks"
    for path in item.masks:
        mask = item.read_mask(path)
        if mask.shape != nucleus.shape:
            continue  # ``prepare`` left this mask out, and counted it
        iou = float(((mask > 0) & nucleus).sum() / ((mask > 0) | nucleus).sum())
        if iou > best_iou:
            best_iou, name = iou, path.rsplit("/", 1)[-1]
    return name
