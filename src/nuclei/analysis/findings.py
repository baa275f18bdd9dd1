"""Everything that the report says about one image, found in one pass over its maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nuclei.analysis.calibration import tally
from nuclei.analysis.error_types import KINDS, find_errors, mend
from nuclei.analysis.groups import crowding, diameters
from nuclei.analysis.label_suspects import Suspect, suspects
from nuclei.data.store import Store
from nuclei.data.targets import CHANNELS
from nuclei.ensemble.blend import blend
from nuclei.ensemble.oof import Member
from nuclei.metrics import confusion, precision_at
from nuclei.parallel import parallel_map
from nuclei.postprocess.pipeline import postprocess


@dataclass(frozen=True)
class Subject:
    """What is analysed: out-of-fold maps, averaged, and their post-processing.

    Attributes:
        name: ``MODEL/NAME`` of a run, or ``ensemble NAME``.
        members: the runs; one or more.
        weights: one for each member, with sum 1.
        channels: the maps that are used, of those that all members have.
        steps: the post-processing.
    """

    name: str
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    channels: tuple[str, ...]
    steps: tuple[Any, ...]

    def maps(self, image_id: str) -> list[np.ndarray]:
        """Read the maps of each member for an image, uint8 (C, H, W)."""
        return [member.maps([image_id], self.channels)[0] for member in self.members]

    def labels(self, image_id: str) -> np.ndarray:
        """Return the nuclei in an image, int32 (H, W)."""
        return postprocess(blend(self.maps(image_id), self.weights), self.channels, self.steps)


@dataclass(frozen=True)
class Findings:
    """What one image has to say.

    Attributes:
        image_id: the image.
        precision: float64 (10,), at the metric's thresholds.
        mended: the same for each of ``errors.KINDS``, after that kind was mended.
        counts: the number of errors of each kind.
        members: float64 (members, 10), the precision of each member alone; no rows where there is one.
        other: the precision of what the subject is compared with; empty for nothing.
        nuclei: number of true and of predicted nuclei.
        diameters: float64 (N,), of the true nuclei, in pixels.
        best_iou: float64 (N,), see ``errors.Errors``.
        crowding: see ``groups.crowding``.
        tallied: float64 (C, 256, 2), see ``calibration.tally``.
        suspects: labels in doubt.
    """

    image_id: str
    precision: np.ndarray
    mended: dict[str, np.ndarray]
    counts: dict[str, int]
    members: np.ndarray
    other: np.ndarray
    nuclei: tuple[int, int]
    diameters: np.ndarray
    best_iou: np.ndarray
    crowding: float
    tallied: np.ndarray
    suspects: list[Suspect]


def calibrated(subject: Subject) -> list[str]:
    """Name the channels whose truth is known from a label map."""
    return [name for name in subject.channels if name in (*CHANNELS, "background")]


def examine(store: Store, subject: Subject, other: Subject | None, image_id: str) -> Findings:
    """Post-process the maps of an image, compare them with the truth, and mend each kind of error in turn."""
    truth, of_member = store.labels(image_id), subject.maps(image_id)
    maps = blend(of_member, subject.weights)
    channels, steps = subject.channels, subject.steps
    prediction = postprocess(maps, channels, steps)
    alone = of_member if len(of_member) > 1 else []
    errors = find_errors(truth, prediction)
    known = [channels.index(name) for name in calibrated(subject)]
    return Findings(
        image_id=image_id,
        precision=precision(truth, prediction),
        mended={kind: precision(truth, mend(kind, errors, truth, prediction)) for kind in KINDS},
        counts=errors.counts(),
        members=np.array([precision(truth, postprocess(m, channels, steps)) for m in alone]).reshape(-1, 10),
        other=precision(truth, other.labels(image_id)) if other else np.empty(0),
        nuclei=(int(truth.max(initial=0)), int(prediction.max(initial=0))),
        diameters=diameters(truth),
        best_iou=errors.best_iou,
        crowding=crowding(truth),
        tallied=tally(maps[known], calibrated(subject), truth),
        suspects=suspects(image_id, errors, truth, prediction, maps[channels.index("nucleus")]),
    )


def precision(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the precision at the ten thresholds, float64 (10,)."""
    return precision_at(confusion(truth, labels))


def examine_all(
    store: Store, subject: Subject, other: Subject | None, ids: Sequence[str], workers: int
) -> Iterator[Findings]:
    """Yield the findings of each image, in order, from several processes."""
    return parallel_map(partial(examine, store, subject, other), ids, workers)
