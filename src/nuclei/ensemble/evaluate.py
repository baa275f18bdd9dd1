"""Score settings on images: blend, post-process, compare with the truth; each score is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from nuclei.data.folds import FoldRow
from nuclei.data.store import Store
from nuclei.ensemble.ensemble_file import Score
from nuclei.ensemble.oof import Member
from nuclei.errors import UserError
from nuclei.labelmap.flooding import weighted_mean
from nuclei.metrics import confusion, precisions
from nuclei.postprocess.pipeline import Step, postprocess, with_parameters
from nuclei.progress import parallel_map, track


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
